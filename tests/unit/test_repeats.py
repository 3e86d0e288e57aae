"""Layers that repeat values, on a runtime that has no operator for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras
from converting import converted
from running import on_tflm

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

INT8 = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)


@pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras3", "tf_keras"])
def test_repeated_values_run_in_tensorflow_lite_micro(kit: Any, tmp_path: Path) -> None:
    kl = kit.layers
    given = kl.Input((4,))
    x = kl.UpSampling1D(2)(kl.RepeatVector(3)(kl.Dense(5)(given)) * np.array([[[1.0], [2.0], [3.0]]], np.float32))
    model = kit.Model(given, x)
    samples = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    expected = np.asarray(model(samples))
    assert expected.shape == (50, 6, 5)

    path = converted(from_keras_model(model), [samples], INT8, tmp_path / "net")

    names = {operator.name for operator in reader.read(path).operators}
    assert "PACK" in names
    assert not names & {"TILE", "GATHER", "BROADCAST_TO"}
    step = np.ptp(expected) / 255
    assert np.abs(on_tflm(path, samples) - expected).max() < 3 * step
