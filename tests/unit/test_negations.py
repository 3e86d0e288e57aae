"""Negations run in int8, as the products that they are: those of layer normalization, and a network's own."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from converting import converted
from making import INT8
from running import on_litert, on_tflm, sqnr_db

from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

ROWS = np.random.default_rng(0).normal(size=(60, 8, 6)).astype(np.float32)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*__array__ implementation:DeprecationWarning", "ignore:.*tf.lite.Interpreter is deprecated:UserWarning"
)


def test_negations_run_in_int8(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    given = keras.Input((8, 6))
    normalized = keras.layers.LayerNormalization()(keras.layers.Dense(12)(given))
    model = keras.Model(given, -keras.layers.Dense(4)(-normalized))
    path = converted(from_keras_model(model), [ROWS[:40]], INT8, tmp_path / "net")
    assert "NEG" not in {operator.name for operator in reader.read(path).operators}
    expected = np.asarray(model(ROWS))
    assert sqnr_db(expected, on_litert(path, ROWS)) > 25
    assert sqnr_db(expected, on_tflm(path, ROWS)) > 25
