"""Layers that an int8 network leaves in float, by the names that its user knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tf_keras
from converting import converted
from making import INT8
from tf_keras import layers

from edgebuild.core.passes import DType
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

# The converter calibrates with an interpreter that TensorFlow wants to do without.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")

SAMPLES = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)


def _two_ends() -> Any:
    given = layers.Input((6,), name="features")
    hidden = layers.Dense(64, activation="relu", name="hidden")(given)
    ends = [layers.Dense(3, name="classes")(hidden), layers.Dense(1, name="value")(hidden)]
    model = tf_keras.Model(given, ends)
    for layer in model.layers[1:]:
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * (np.random.default_rng(1).random(kernel.shape) < 0.15), bias])
    return model


@pytest.mark.parametrize("sparse", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("named", [("hidden",), ("value",), ("classes", "value")])
def test_layers_stay_in_float_whether_they_write_an_output_or_not(
    named: tuple[str, ...], sparse: bool, tmp_path: Path
) -> None:
    ends = {"input": DType.FLOAT32, "output": DType.FLOAT32}
    wanted = msgspec.structs.replace(INT8, **ends, float_fallback=True, sparse=sparse, float_layers=named)
    artifact = converted(from_keras_model(_two_ends()), [SAMPLES], wanted, tmp_path / "net")
    assert [end.shape for end in reader.read(artifact).outputs] == [(1, 3), (1, 1)]
    kernels = [item for item in reader.read(artifact).operators if item.name == "FULLY_CONNECTED"]
    floating = [item.tensor for item in kernels if item.dtypes[0] == "float32"]
    assert len(kernels) == 3
    assert len(floating) == len(named)
    assert all(any(name in tensor for tensor in floating) for name in named)
