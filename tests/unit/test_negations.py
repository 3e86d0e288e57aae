"""Layer normalization runs in int8, and activations that the converter knows by a negation stay what they are."""

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


def test_a_normalized_layer_runs_in_int8(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    given = keras.Input((8, 6))
    normalized = keras.layers.LayerNormalization()(keras.layers.Dense(12)(given))
    model = keras.Model(given, keras.layers.Dense(4)(normalized))
    path = converted(from_keras_model(model), [ROWS[:40]], INT8, tmp_path / "net")
    assert "NEG" not in {operator.name for operator in reader.read(path).operators}
    expected = np.asarray(model(ROWS))
    assert sqnr_db(expected, on_litert(path, ROWS)) > 25
    assert sqnr_db(expected, on_tflm(path, ROWS)) > 25


def test_activations_that_negate_are_still_known(tmp_path: Path) -> None:
    given = keras.Input((8, 6))
    mean = keras.ops.mean(keras.layers.Dense(4)(given), axis=1)
    slopes = keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.2))(mean)
    model = keras.Model(given, [slopes, keras.activations.gelu(mean)])
    path = converted(from_keras_model(model), [ROWS[:40]], INT8, tmp_path / "net")
    assert {"GELU", "PRELU"} <= {operator.name for operator in reader.read(path).operators}
