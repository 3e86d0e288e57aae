"""Pooling over volumes, for which TensorFlow Lite has no operators, runs as pooling over planes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from converting import converted
from making import INT8
from running import on_litert, on_tflm, sqnr_db

from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model

VOLUMES = np.random.default_rng(0).normal(size=(20, 5, 6, 7, 2)).astype(np.float32)
KITS = pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras3", "tf_keras"])
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*__array__ implementation:DeprecationWarning", "ignore:.*tf.lite.Interpreter is deprecated:UserWarning"
)


@KITS
@pytest.mark.parametrize("kind", ["MaxPooling3D", "AveragePooling3D"])
@pytest.mark.parametrize("how", [{"pool_size": 2}, {"pool_size": (3, 2, 4), "strides": (2, 1, 3), "padding": "same"}])
def test_planes_pooled_one_after_another_are_volumes_pooled(kit: Any, kind: str, how: dict[str, Any]) -> None:
    given = kit.Input(VOLUMES.shape[1:])
    model = kit.Model(given, getattr(kit.layers, kind)(**how)(given))
    network = from_keras_model(model)
    traced = tf.function(lambda volumes: network.call(volumes)[0], autograph=False)
    one = traced.get_concrete_function(tf.TensorSpec([None, *VOLUMES.shape[1:]]))
    assert not [op for op in one.graph.get_operations() if op.type in ("MaxPool3D", "AvgPool3D")]
    np.testing.assert_allclose(one(tf.constant(VOLUMES)), model(VOLUMES), atol=1e-6)


def test_volumes_are_pooled_in_int8_as_in_float(tmp_path: Path) -> None:
    given = keras.Input(VOLUMES.shape[1:])
    pooled = keras.layers.AveragePooling3D((1, 2, 2))(keras.layers.MaxPooling3D(2, strides=1)(given))
    model = keras.Model(given, pooled)
    path = converted(from_keras_model(model), [VOLUMES], INT8, tmp_path / "net")
    assert {"MAX_POOL_2D", "AVERAGE_POOL_2D"} <= {operator.name for operator in reader.read(path).operators}
    expected = np.asarray(model(VOLUMES))
    assert sqnr_db(expected, on_litert(path, VOLUMES)) > 30
    assert sqnr_db(expected, on_tflm(path, VOLUMES)) > 30
