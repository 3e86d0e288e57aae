"""Networks in half or double precision are built again in float32, and compute the same but for their rounding."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from edgebuild.actions.networks import SAVED_MODEL
from edgebuild.errors import StepError
from edgebuild.passes import carry
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import Network, from_keras_model, load

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def _network(kit: Any, policy: str) -> Any:
    layers = kit.layers
    given = layers.Input((5, 4), name="given", dtype="float64" if policy == "float64" else None)
    x = layers.TimeDistributed(layers.Dense(6, activation="relu", dtype=policy), dtype=policy)(given)
    inner = kit.Sequential([layers.Input((5, 6)), layers.Conv1D(4, 3, dtype=policy)], name="inner")
    x = layers.BatchNormalization(dtype=policy, beta_initializer="ones")(inner(x))
    x = keras.ops.cast(x, "float16") if kit is keras else tf.cast(x, tf.float16)
    return kit.Model(given, layers.Dense(3, name="end")(layers.Flatten()(x)))


def _loaded(path: Path) -> Network:
    return load("folder" if path.is_dir() else "file", str(path), signature="", allow_code=False)


@pytest.mark.parametrize(
    ("kit", "policy"),
    [
        (keras, "mixed_float16"),
        pytest.param(keras, "mixed_bfloat16", marks=pytest.mark.slow),
        pytest.param(keras, "float64", marks=pytest.mark.slow),
        (tf_keras, "mixed_float16"),
        pytest.param(tf_keras, "float16", marks=pytest.mark.slow),
    ],
)
def test_it_is_computed_in_float32_and_said(kit: Any, policy: str, tmp_path: Path) -> None:
    model = _network(kit, policy)
    path = tmp_path / "net.keras"
    model.save(path)
    network = _loaded(path)
    expected = np.asarray(model(X.astype(np.float64) if policy == "float64" else X), np.float32)
    assert [spec.dtype for spec in network.inputs] == [tf.float32]
    assert {variable.dtype for variable in network.variables if "seed" not in variable.name} == {tf.float32}
    (result,) = network.call(tf.constant(X))
    assert result.dtype == tf.float32
    assert np.abs(result - expected).max() < 0.03 * np.abs(expected).max()
    (note,) = network.notes
    assert note == f"computed in float32: TensorFlow Lite has no arithmetic in {policy.removeprefix('mixed_')}"

    assert freeze(network, tmp_path, name="net").notes == (note,)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / SAVED_MODEL))
    interpreter = Interpreter(model_content=converter.convert())
    types = {detail["dtype"] for detail in interpreter.get_tensor_details()}
    assert types <= {np.float32, np.int32}
    graph = carry.graph_of(str(path), allow_code=False)
    assert {tensor.dtype for tensor in graph.tensors.values()} == {"float32"}


def test_what_computes_in_float32_is_left_alone() -> None:
    model = _network(keras, "float32")
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert from_keras_model(plain).keras_model is plain
    assert from_keras_model(plain).notes == ()
    assert from_keras_model(model).notes  # a cast to float16 alone


class _Own(keras.Model):  # type: ignore[misc]
    def __init__(self, policy: str) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2, dtype=policy)

    def call(self, x: Any) -> Any:
        """Compute."""
        return self.dense(x)


def test_a_subclassed_model_is_refused_and_the_remedy_works() -> None:
    half, single = _Own("mixed_float16"), _Own("float32")
    for model in (half, single):
        model(X)
    with pytest.raises(StepError, match="computes in float16") as refused:
        from_keras_model(half)
    assert "builds it under the dtype policy float32 and sets its weights" in str(refused.value.remedy)
    single.set_weights(half.get_weights())
    (result,) = from_keras_model(single).call(tf.constant(X))
    assert np.abs(result - np.asarray(half(X), np.float32)).max() < 0.03


def test_a_traced_function_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.Dense(2, dtype="mixed_float16")])
    model.export(tmp_path / "exported", verbose=False)
    with pytest.raises(StepError, match="net computes in float16") as refused:
        freeze(_loaded(tmp_path / "exported"), tmp_path / "out", name="net")
    assert "Give the .keras or .h5 file" in str(refused.value.remedy)
    model.save(tmp_path / "net.keras")
    assert freeze(_loaded(tmp_path / "net.keras"), tmp_path / "out", name="net").notes
