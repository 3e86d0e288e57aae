"""int64 numbers, which numpy gives by habit, go into files for microcontrollers as int32, and mean the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from converting import converted
from making import INT8
from running import on_litert, on_tflm, sqnr_db

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated"),
]
L, ops = keras.layers, keras.ops


def _masked_words() -> Any:
    """Words and a mask that is made of them."""
    ids = L.Input((6,), dtype="int64", name="ids")
    words = L.Embedding(50, 4)(ids) * ops.expand_dims(ops.cast(ops.not_equal(ids, 0), "float32"), -1)
    return keras.Model(ids, L.Dense(3, name="scores")(L.Flatten()(words)))


def _coded_words() -> Any:
    """Codes that are looked up twice."""
    ids = L.Input((6,), dtype="int64", name="ids")
    places = L.IntegerLookup(vocabulary=[-5, 7, 40], num_oov_indices=1)(ids)
    return keras.Model(ids, L.Dense(3, name="scores")(L.Flatten()(L.Embedding(5, 4)(places))))


@pytest.mark.parametrize("make", [_masked_words, _coded_words])
def test_numbers_of_64_bits_become_numbers_of_32(make: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    network = make()
    ids = np.random.default_rng(0).integers(0, 50, (40, 6))
    ids[:, 4:] = 0
    path = converted(from_keras_model(network), [ids], INT8, tmp_path / "made")
    spec = reader.read(path)
    assert [given.dtype for given in spec.inputs] == ["int32"]
    assert not [operator.name for operator in spec.operators if "int64" in operator.dtypes]
    found = on_litert(path, ids, OpResolverType.BUILTIN_REF)
    assert sqnr_db(np.asarray(network(ids)), found) > 25
    steps = (found - on_tflm(path, ids)) / spec.outputs[0].scale
    assert np.abs(steps).max() < 1.5  # its MUL rounds otherwise


def test_numbers_that_need_64_bits_keep_them_and_so_do_processors(tmp_path: Path) -> None:
    ids = L.Input((1,), dtype="int64", name="ids")
    codes = L.IntegerLookup(vocabulary=[2, 3], num_oov_indices=1, output_mode="one_hot")(ids)
    network = keras.Model(ids, L.Dense(3)(codes))
    far = np.array([[2], [3], [2**40]])
    processor = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
    for place, (samples, settings) in enumerate([(far, INT8), (far % 5, processor)]):
        path = converted(from_keras_model(network), [samples], settings, tmp_path / str(place))
        assert [given.dtype for given in reader.read(path).inputs] == ["int64"]
