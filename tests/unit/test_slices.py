"""UNPACK for targets that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import OpResolverType
from converting import converted
from running import on_litert, on_tflm

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")


def _network() -> Any:
    """Steps that are taken apart by a layer, and a tensor of four axes that is taken apart along its third."""
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    given = layers.Input((4, 3, 2))
    parts = tf.unstack(layers.Conv2D(3, 1)(given), axis=-2)
    steps = layers.SimpleRNN(3)(layers.Reshape((4, 6))(given))
    return tf_keras.Model(given, layers.Concatenate()([layers.Flatten()(parts[2] - parts[0] * parts[1]), steps]))


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(Scheme.FLOAT32, marks=pytest.mark.slow),
        Scheme.INT8,
        pytest.param(Scheme.INT16X8, marks=pytest.mark.slow),
    ],
)
def test_slices_give_what_unpack_gives(scheme: Scheme, tmp_path: Path) -> None:
    settings = Quantize(scheme=scheme, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)
    x = np.random.default_rng(0).normal(size=(40, 4, 3, 2)).astype(np.float32)
    network = from_keras_model(_network())

    unpacked = converted(network, [x], settings, tmp_path / "unpacked")
    sliced = converted(network, [x], settings, tmp_path / "sliced", has_unpack=False)

    assert "UNPACK" in {operator.name for operator in reader.read(unpacked).operators}
    names = [operator.name for operator in reader.read(sliced).operators]
    assert "UNPACK" not in names
    assert names.count("STRIDED_SLICE") == 3 + 4
    for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_REF):
        expected = on_litert(unpacked, x, kernels)
        assert len(np.unique(expected)) > 50
        assert np.array_equal(on_litert(sliced, x, kernels), expected)
    assert np.array_equal(on_tflm(sliced, x), on_tflm(unpacked, x))
