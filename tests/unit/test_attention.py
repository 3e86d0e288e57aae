"""Masked attention computes the same in float, and in int8 nearly the same: no mask takes the scores' whole range."""

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
ROWS = 1.5 * RNG.normal(size=(40, 8, 6)).astype(np.float32)
WORDS = RNG.integers(1, 20, (40, 8)).astype(np.int32)
WORDS[np.arange(8) >= RNG.integers(3, 9, (40, 1))] = 0
ENOUGH_DB = 25.0
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*__array__ implementation:DeprecationWarning", "ignore:.*tf.lite.Interpreter is deprecated:UserWarning"
)


def causal(kit: Any, **how: Any) -> Any:
    rows = kit.Input((8, 6))
    return kit.Model(rows, kit.layers.MultiHeadAttention(2, 6, **how)(rows, rows, use_causal_mask=True))


def padded(kit: Any) -> Any:
    words = kit.Input((8,), dtype="int32")
    near = kit.initializers.RandomNormal(stddev=1.0, seed=1)
    x = kit.layers.Embedding(20, 6, mask_zero=True, embeddings_initializer=near)(words)
    return kit.Model(words, kit.layers.MultiHeadAttention(2, 6)(x, x))


def by_scores(kit: Any, kind: str = "Attention") -> Any:
    rows = kit.Input((8, 6))
    return kit.Model(rows, getattr(kit.layers, kind)()([rows, rows], use_causal_mask=True))


def softmax(kit: Any) -> Any:
    rows = kit.Input((8, 6))
    mask = np.arange(6) < np.array([[6], [5], [4], [3], [2], [1], [3], [0]])
    return kit.Model(rows, kit.layers.Softmax()(rows, tf.constant(mask[np.newaxis])))


def grouped(kit: Any) -> Any:
    rows = kit.Input((8, 6))
    return kit.Model(rows, kit.layers.GroupQueryAttention(6, 4, 2)(rows, rows, use_causal_mask=True))


def both_masks(kit: Any) -> Any:
    rows = kit.Input((8, 6))
    nothing_at_first = np.arange(8)[:, np.newaxis] * np.ones(8) > 0
    attend = kit.layers.MultiHeadAttention(2, 6)
    mask = tf.constant(nothing_at_first[np.newaxis])
    return kit.Model(rows, attend(rows, rows, attention_mask=mask, use_causal_mask=True))


def made(make: Callable[..., Any], kit: Any, **how: Any) -> Any:
    kit.utils.set_random_seed(0)
    return make(kit, **how)


@pytest.mark.parametrize(
    ("make", "kit", "how"),
    [
        (causal, keras, {}),
        (causal, keras, {"dropout": 0.1}),
        (causal, tf_keras, {}),
        (padded, keras, {}),
        (padded, tf_keras, {}),
        (both_masks, keras, {}),
        (both_masks, tf_keras, {}),
        (by_scores, keras, {}),
        (by_scores, tf_keras, {}),
        (by_scores, keras, {"kind": "AdditiveAttention"}),
        (grouped, keras, {}),
        (softmax, keras, {}),
        (softmax, tf_keras, {}),
    ],
)
def test_what_is_masked_nearby_computes_the_same(make: Callable[..., Any], kit: Any, how: dict[str, Any]) -> None:
    model = made(make, kit, **how)
    x = tf.constant(WORDS if make is padded else ROWS)
    network = from_keras_model(model)
    theirs = np.asarray(model(x))
    np.testing.assert_allclose(network.call(x)[0], theirs, atol=1e-6)
    graph = tf.function(lambda given: network.call(given)[0]).get_concrete_function(tf.TensorSpec(x.shape, x.dtype))
    constants = [
        tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.graph.as_graph_def().node
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum
    ]
    assert max(float(np.abs(array).max(initial=0)) for array in constants) < 100
    np.testing.assert_array_equal(np.asarray(model(x)), theirs)  # Keras's own layers are as they were


@pytest.mark.parametrize(
    ("make", "kit"),
    [
        (causal, keras),
        (padded, tf_keras),
        pytest.param(causal, tf_keras, marks=pytest.mark.slow),
        pytest.param(padded, keras, marks=pytest.mark.slow),
        pytest.param(by_scores, keras, marks=pytest.mark.slow),
        pytest.param(by_scores, tf_keras, marks=pytest.mark.slow),
    ],
)
def test_masked_attention_is_right_in_int8(make: Callable[..., Any], kit: Any, tmp_path: Path) -> None:
    model, x = made(make, kit), WORDS if make is padded else ROWS
    artifact = converted(from_keras_model(model), [x[:30]], INT8, tmp_path / "net")
    expected = np.asarray(model(x))
    assert sqnr_db(expected, on_litert(artifact, x)) > ENOUGH_DB
    assert sqnr_db(expected, on_tflm(artifact, x)) > ENOUGH_DB
