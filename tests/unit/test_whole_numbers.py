"""Pixels and other whole numbers go into int8 kernels as integers, and the file computes what the network does."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from converting import converted

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


def _sqnr_db(expected: Any, outputs: Any) -> float:
    return float(10 * np.log10((expected**2).sum() / ((expected - outputs) ** 2).sum()))


def _run(path: Path, samples: Any) -> Any:
    """Sample after sample, by what the file itself says of its ends."""
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for sample in samples:
        interpreter.set_tensor(given["index"], _stored(sample, *given["quantization"], given["dtype"])[np.newaxis])
        interpreter.invoke()
        scale, zero = made["quantization"]
        found.append((interpreter.get_tensor(made["index"])[0].astype(np.float64) - zero) * scale)
    return np.array(found)


def _stored(sample: Any, scale: float, zero: int, dtype: Any) -> Any:
    limits = np.iinfo(dtype)
    return np.clip(np.round(sample / scale) + zero, limits.min, limits.max).astype(dtype)


def _run_on_tflm(path: Path, samples: Any) -> Any:
    from tflite_micro.python.tflite_micro import runtime

    found = []
    spec = reader.read(path)
    for sample in samples:
        interpreter = runtime.Interpreter.from_bytes(path.read_bytes())
        stored = _stored(sample, spec.inputs[0].scale, spec.inputs[0].zero_point, np.dtype(spec.inputs[0].dtype))
        interpreter.set_input(stored[np.newaxis], 0)
        interpreter.invoke()
        output = spec.outputs[0]
        found.append((interpreter.get_output(0)[0].astype(np.float64) - output.zero_point) * output.scale)
    return np.array(found)


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
    assert _sqnr_db(expected, _run(path, samples)) > 25
    if importlib.util.find_spec("tflite_micro"):
        assert np.array_equal(_run(path, samples[:3]), _run_on_tflm(path, samples[:3]))


def test_a_network_that_knows_fewer_values_saturates_beyond_them(tmp_path: Path) -> None:
    model, samples = _network("uint8", keras.layers.Rescaling(1 / 255.0)), _pixels("uint8", 100)
    path = converted(from_keras_model(model), [samples], _INT8, tmp_path / "net")
    spec = reader.read(path)
    assert (spec.inputs[0].dtype, spec.inputs[0].scale, spec.inputs[0].zero_point) == ("uint8", 1.0, 0)
    assert _sqnr_db(np.asarray(model(samples), np.float64), _run(path, samples)) > 25


def test_indices_and_files_in_float_stay_as_they_are(tmp_path: Path) -> None:
    given = keras.Input((5,), dtype="int32", name="ids")
    model = keras.Model(given, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Embedding(9, 4)(given))))
    path = converted(from_keras_model(model), [_RNG.integers(0, 9, (40, 5)).astype("i4")], _INT8, tmp_path / "ids")
    assert reader.read(path).inputs[0].dtype == "int32"
    floating = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
    network = from_keras_model(_network("uint8", keras.layers.Rescaling(1 / 255.0)))
    spec = reader.read(converted(network, [_pixels("uint8")], floating, tmp_path / "float"))
    assert "CAST" in {operator.name for operator in spec.operators}
