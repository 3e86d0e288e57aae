"""Pixels and other whole numbers go into int8 kernels as integers, and the file computes what the network does."""

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
from running import on_litert, on_tflm, sqnr_db

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs"),
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),
]
_INT8 = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False)
_RNG = np.random.default_rng(0)


def _pixels(dtype: str, largest: int = 255) -> Any:
    return _RNG.integers(0, largest + 1, (40, 6, 6, 3)).astype(dtype)


def _network(dtype: str, before: Any) -> Any:
    keras.utils.set_random_seed(0)
    given = keras.Input((6, 6, 3), dtype=dtype, name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(before(given))
    return keras.Model(given, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


def _caffe(x: Any) -> Any:
    return keras.applications.vgg16.preprocess_input(keras.ops.cast(x, "float32"))


def _normalization(x: Any) -> Any:
    return keras.layers.Normalization(mean=[120.0, 110.0, 90.0], variance=[3e3, 4e3, 2e3])(x)


@pytest.mark.parametrize(
    ("dtype", "before", "stored"),
    [
        ("uint8", keras.layers.Rescaling(1 / 127.5, -1.0), "uint8"),
        ("uint8", _normalization, "uint8"),
        ("uint8", _caffe, "uint8"),
        ("int32", keras.layers.Rescaling(1 / 255.0), "int8"),
    ],
)
def test_whole_numbers_are_quantized_as_integers(dtype: str, before: Any, stored: str, tmp_path: Path) -> None:
    model, samples = _network(dtype, before), _pixels(dtype)
    samples[0] = np.linspace(0, 255, 108).reshape(6, 6, 3).astype(dtype)
    path = converted(from_keras_model(model), [samples], _INT8, tmp_path / "net")
    spec = reader.read(path)
    assert not {name for operator in spec.operators for name in operator.dtypes if "float" in name}
    assert "CAST" not in {operator.name for operator in spec.operators}
    (given,) = spec.inputs
    assert given.dtype == stored
    assert given.scale == pytest.approx(1.0)
    assert given.zero_point == (0 if stored == "uint8" else -128)
    expected = np.asarray(model(samples), np.float64)
    found = on_litert(path, samples, OpResolverType.BUILTIN_REF)
    assert sqnr_db(expected, found) > 25
    assert np.array_equal(found, on_tflm(path, samples))


def test_a_network_that_knows_fewer_values_saturates_beyond_them(tmp_path: Path) -> None:
    model, samples = _network("uint8", keras.layers.Rescaling(1 / 255.0)), _pixels("uint8", 100)
    path = converted(from_keras_model(model), [samples], _INT8, tmp_path / "net")
    spec = reader.read(path)
    assert (spec.inputs[0].dtype, spec.inputs[0].scale, spec.inputs[0].zero_point) == ("uint8", 1.0, 0)
    assert sqnr_db(np.asarray(model(samples)), on_litert(path, samples, OpResolverType.BUILTIN_REF)) > 25


def test_indices_and_files_in_float_stay_as_they_are(tmp_path: Path) -> None:
    given = keras.Input((5,), dtype="int32", name="ids")
    model = keras.Model(given, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Embedding(9, 4)(given))))
    path = converted(from_keras_model(model), [_RNG.integers(0, 9, (40, 5)).astype("i4")], _INT8, tmp_path / "ids")
    assert reader.read(path).inputs[0].dtype == "int32"
    floating = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
    network = from_keras_model(_network("uint8", keras.layers.Rescaling(1 / 255.0)))
    spec = reader.read(converted(network, [_pixels("uint8")], floating, tmp_path / "float"))
    assert "CAST" in {operator.name for operator in spec.operators}
