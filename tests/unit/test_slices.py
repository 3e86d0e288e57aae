"""Operators that take tensors apart, for targets that have only slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import OpResolverType
from converting import converted
from running import on_litert, on_tflm, sqnr_db

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.target import Operators
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

APART = ("SPLIT", "SPLIT_V", "UNPACK")


def _network() -> Any:
    """Steps that are taken apart by a layer, and tensors of four axes along others than the first."""
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    given = layers.Input((4, 3, 2))
    x = layers.Conv2D(6, 1)(given)
    parts = tf.unstack(x, axis=-2)
    even, (few, many) = tf.split(x, 3, axis=-1), tf.split(x, [1, -1], axis=1)
    steps = layers.SimpleRNN(3)(layers.Reshape((4, 6))(given))
    ends = [parts[2] - parts[0] * parts[1], even[0] * even[2], few, many]
    return tf_keras.Model(given, layers.Concatenate()([*map(layers.Flatten(), ends), steps]))


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(Scheme.FLOAT32, marks=pytest.mark.slow),
        Scheme.INT8,
        pytest.param(Scheme.INT16X8, marks=pytest.mark.slow),
    ],
)
def test_slices_give_what_stands_there(scheme: Scheme, tmp_path: Path) -> None:
    settings = Quantize(scheme=scheme, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)
    x = np.random.default_rng(0).normal(size=(40, 4, 3, 2)).astype(np.float32)
    network = from_keras_model(_network())

    whole = converted(network, [x], settings, tmp_path / "whole")
    sliced = converted(network, [x], settings, tmp_path / "sliced", sliced=APART)

    before, after = ([operator.name for operator in reader.read(path).operators] for path in (whole, sliced))
    assert set(APART) <= set(before)
    assert not set(APART) & set(after)
    assert after.count("STRIDED_SLICE") == 3 + 3 + 2 + 4
    for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_REF):
        expected = on_litert(whole, x, kernels)
        assert len(np.unique(expected)) > 50
        assert np.array_equal(on_litert(sliced, x, kernels), expected)
    assert np.array_equal(on_tflm(sliced, x), on_tflm(whole, x))


def test_a_mask_runs_in_tensorflow_lite_micro(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    given = layers.Input((5,), dtype="int32")
    x = layers.GRU(4)(layers.Embedding(20, 6, "orthogonal", mask_zero=True)(given))
    model = tf_keras.Model(given, layers.Dense(3)(x))
    ids = np.random.default_rng(0).integers(1, 20, (40, 5)).astype(np.int32)
    ids[::2, 3:] = 0
    settings = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)

    path = converted(from_keras_model(model), [ids], settings, tmp_path / "net")

    assert "UNPACK" in {operator.name for operator in reader.read(path).operators}  # of the embedded steps
    for found in (on_tflm(path, ids), on_litert(path, ids)):
        assert sqnr_db(np.asarray(model(ids)), found) > 25


def test_only_what_a_target_has_not_is_sliced() -> None:
    assert Operators(float=True).sliced() == ()
    assert Operators(float=False, allowed=("SPLIT", "STRIDED_SLICE")).sliced() == ("SPLIT_V", "UNPACK")
    assert Operators(float=False, allowed=("SPLIT",)).sliced() == ()
