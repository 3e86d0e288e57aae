"""Masks that networks write themselves compute the same in float, and in int8 leave the scores their range."""

from __future__ import annotations

from collections.abc import Callable
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

from edgebuild.passes.loading import from_keras_model

RNG = np.random.default_rng(0)
STEPS = 8
ROWS = 1.5 * RNG.normal(size=(40, STEPS, 6)).astype(np.float32)
KEPT = np.arange(STEPS) < RNG.integers(2, STEPS + 1, (40, 1))
X = np.concatenate([ROWS, KEPT[..., np.newaxis]], axis=-1).astype(np.float32)
ENOUGH_DB = 25.0
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*__array__ implementation:DeprecationWarning", "ignore:.*tf.lite.Interpreter is deprecated:UserWarning"
)
CAUSAL = np.where(np.tril(np.ones((STEPS, STEPS))), 0.0, -1e9).astype(np.float32)


def layers(kit: Any, scores: Any, mask: Any) -> Any:
    """Nothing but layers, as in a file that holds no code."""
    turned = kit.layers.Rescaling(1e9, offset=-1e9)(mask)
    return kit.layers.Softmax()(kit.layers.Add()([scores, kit.layers.Reshape((1, STEPS))(turned)]))


def products(kit: Any, scores: Any, mask: Any) -> Any:
    return kit.layers.Activation("softmax")((scores + ((1.0 - mask) * -10000.0)[:, tf.newaxis, :]) / 2.0)


def subtracted(kit: Any, scores: Any, mask: Any) -> Any:
    return kit.layers.Softmax()(0.5 * (scores - 1e9 * (1.0 - kit.layers.Reshape((1, STEPS))(mask))))


def twice(kit: Any, scores: Any, mask: Any) -> Any:
    """Causal and padded, and an offset behind them."""
    padded = scores + (kit.layers.Reshape((1, STEPS))(mask) - 1.0) * 1e9
    return kit.layers.Softmax()(padded + CAUSAL + 0.25)


def chosen(kit: Any, scores: Any, mask: Any) -> Any:
    where = keras.ops.where if kit is keras else tf.where
    return kit.layers.Softmax()(where(kit.layers.Reshape((1, STEPS))(mask) > 0.5, scores, float("-inf")))


def of_whole_numbers(kit: Any, scores: Any, mask: Any) -> Any:
    cast = keras.ops.cast if kit is keras else tf.cast
    numbers = cast(kit.layers.Reshape((1, STEPS))(mask), "int32")
    return kit.layers.Softmax()(scores + (1.0 - cast(numbers, "float32")) * -1e9)


def of_no_mask(kit: Any, scores: Any, mask: Any) -> Any:
    """A bias of any other values is no mask."""
    return kit.layers.Softmax()(scores + (kit.layers.Reshape((1, STEPS))(mask) - 2.0) * 1e3)


def made(write: Callable[..., Any], kit: Any) -> Any:
    kit.utils.set_random_seed(0)
    given = kit.Input((STEPS, 7))
    rows, mask = given[..., :6], given[..., 6]
    queries, keys = kit.layers.Dense(6)(rows), kit.layers.Dense(6)(rows)
    weights = write(kit, kit.layers.Dot(axes=2)([queries, keys]), mask)
    return kit.Model(given, kit.layers.Dot(axes=(2, 1))([weights, rows]))


EACH = [
    (write, kit)
    for write in (layers, products, subtracted, twice, chosen, of_whole_numbers)
    for kit in (keras, tf_keras)
]


@pytest.mark.parametrize(("write", "kit"), [*EACH, (of_no_mask, keras)])
def test_a_mask_of_its_own_computes_the_same_nearby(write: Callable[..., Any], kit: Any) -> None:
    model = made(write, kit)
    network = from_keras_model(model)
    traced = tf.function(lambda given: network.call(given)[0], autograph=False)
    one = traced.get_concrete_function(tf.TensorSpec([1, *X.shape[1:]]))
    outputs = np.concatenate([one(tf.constant(sample[np.newaxis])) for sample in X])
    np.testing.assert_allclose(outputs, model(X), atol=1e-3 if write is of_no_mask else 1e-5)
    used = tf.compat.v1.graph_util.extract_sub_graph(one.graph.as_graph_def(), [one.outputs[0].op.name]).node
    constants = [tf.make_ndarray(node.attr["value"].tensor) for node in used if node.op == "Const"]
    floats = [np.abs(array).max(initial=0) for array in constants if array.dtype == np.float32]
    assert (max(floats) < 100) == (write is not of_no_mask)


@pytest.mark.parametrize(
    ("write", "kit"),
    [(layers, keras), (twice, tf_keras), *(pytest.param(*one, marks=pytest.mark.slow) for one in EACH[2:6])],
)
def test_a_mask_of_its_own_is_right_in_int8(write: Callable[..., Any], kit: Any, tmp_path: Path) -> None:
    model = made(write, kit)
    artifact = converted(from_keras_model(model), [X[:30]], INT8, tmp_path / "net")
    expected = np.asarray(model(X))
    assert sqnr_db(expected, on_litert(artifact, X)) > ENOUGH_DB
    assert sqnr_db(expected, on_tflm(artifact, X)) > ENOUGH_DB
