"""What each loss says, and what the end of a network means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from making import metric

from edgebuild.passes.training import heads, losses
from edgebuild.passes.training.heads import Head, is_likely, logits_of_results


def network(activation: str | None) -> Any:
    inputs = tf_keras.Input((4,))
    return tf_keras.Model(inputs, tf_keras.layers.Dense(10, activation=activation)(inputs))


# Losses


def test_soft_loss_is_nothing_between_equals_and_grows_with_the_difference() -> None:
    wanted = tf.constant([[2.0, 0.0, -1.0], [0.5, 0.1, 0.0]])
    for head in Head:
        assert float(losses.soft(wanted, wanted, head, 3.0)) == pytest.approx(0, abs=1e-6)
        near, far = (float(losses.soft(wanted * factor, wanted, head, 3.0)) for factor in (1.5, 3.0))
        assert 0 < near < far


def test_soft_loss_of_classes_is_the_divergence_of_softened_distributions() -> None:
    ours, theirs = np.array([[1.0, 2.0]], np.float32), np.array([[3.0, 0.0]], np.float32)

    def softened(logits: np.ndarray) -> np.ndarray:
        e = np.exp(logits / 2.0)
        return e / e.sum()

    p, q = softened(theirs), softened(ours)
    expected = 4.0 * float((p * np.log(p / q)).sum())
    assert float(losses.soft(tf.constant(ours), tf.constant(theirs), Head.CLASSES, 2.0)) == pytest.approx(
        expected, rel=1e-5
    )


def test_hard_loss_takes_class_numbers_and_one_hot_rows_alike() -> None:
    logits = tf.constant([[2.0, 0.0], [0.0, 1.0]])
    numbers = losses.hard(logits, tf.constant([0, 1]), Head.CLASSES)
    column = losses.hard(logits, tf.constant([[0], [1]], tf.uint8), Head.CLASSES)
    rows = losses.hard(logits, tf.constant([[1.0, 0.0], [0.0, 1.0]]), Head.CLASSES)
    assert float(numbers) == pytest.approx(float(rows)) == pytest.approx(float(column))
    assert float(losses.hard(logits, tf.constant([1, 0]), Head.CLASSES)) > float(numbers)


def test_hard_loss_learns_nothing_from_labels_that_are_ignored() -> None:
    logits = tf.constant([[2.0, 0.0], [0.0, 1.0], [9.0, -9.0]])
    for head in (Head.CLASSES, Head.ANSWERS):
        known = losses.hard(logits[:2], tf.constant([0, 1]), head)
        assert float(losses.hard(logits, tf.constant([0, 1, -1]), head, ignores=True)) == pytest.approx(float(known))
        assert float(losses.hard(logits, tf.constant([-1, -1, -1]), head, ignores=True)) == 0.0
    answers = tf.constant([[1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]])
    kept = tf.constant([2.0, 0.0, 0.0])[:, tf.newaxis], tf.constant([1.0, 0.0, 0.0])[:, tf.newaxis]
    found = losses.hard(logits, answers, Head.ANSWERS, ignores=True)
    assert float(found) == pytest.approx(float(losses.hard(*kept, Head.ANSWERS)))


def test_attention_looks_at_places_and_not_at_channels() -> None:
    rng = np.random.default_rng(0)
    layer = rng.random((2, 4, 4, 3)).astype(np.float32)
    doubled = np.concatenate([layer, layer], axis=-1)
    assert float(losses.attention(doubled, layer)) == pytest.approx(0, abs=1e-6)
    assert float(losses.attention(layer[:, ::-1], layer)) > 1e-3


def test_relation_looks_at_distances_between_samples_and_not_at_their_place() -> None:
    rng = np.random.default_rng(0)
    layer = rng.random((6, 5)).astype(np.float32)
    assert float(losses.relation(3 * layer + 7, layer)) == pytest.approx(0, abs=1e-3)
    assert float(losses.relation(rng.random((6, 9)).astype(np.float32), layer)) > 1e-3


def test_feature_is_relative_to_the_teacher() -> None:
    layer = np.ones((2, 3), np.float32)
    assert float(losses.feature(2 * layer, layer)) == pytest.approx(1.0)
    assert float(losses.feature(20 * layer, 10 * layer)) == pytest.approx(1.0)


# Heads


@pytest.mark.parametrize(
    ("activation", "name", "head"),
    [
        ("softmax", "mse", Head.CLASSES),
        ("sigmoid", "accuracy", Head.ANSWERS),
        (None, "accuracy", Head.CLASSES),
        (None, "mse", Head.VALUES),
        ("tanh", "mse", Head.VALUES),
    ],
)
def test_the_end_of_a_network_tells_what_it_means(activation: str | None, name: str, head: Head) -> None:
    (ending,) = heads.endings_of(network(activation), metric(name))
    assert ending == (head, activation in ("softmax", "sigmoid"))


def test_a_teachers_probabilities_and_logits_teach_the_same() -> None:
    logits = np.array([[2.0, -1.0, 0.5]], np.float32)
    likely = np.exp(logits) / np.exp(logits).sum()
    assert is_likely(likely, Head.CLASSES)
    assert not is_likely(logits, Head.CLASSES)
    found = logits_of_results(tf.constant(likely), Head.CLASSES, likely=True).numpy()
    np.testing.assert_allclose(found - found.mean(), logits - logits.mean(), atol=1e-5)


def test_class_numbers_teach_whatever_their_type_is_and_independent_answers_too() -> None:
    logits = tf.constant([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    wanted = losses.hard(logits, tf.constant([0, 1]), Head.CLASSES)
    assert float(losses.hard(logits, tf.constant([0.0, 1.0]), Head.CLASSES)) == pytest.approx(float(wanted))
    answers = losses.hard(logits, tf.constant([0, 1]), Head.ANSWERS)
    rows = losses.hard(logits, tf.constant([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), Head.ANSWERS)
    assert float(answers) == pytest.approx(float(rows))


def test_values_are_weighed_by_the_data_and_not_by_their_batch() -> None:
    assert float(losses.hard(tf.constant([[1.0]]), tf.constant([[1.5]]), Head.VALUES, 0.25)) == pytest.approx(1.0)
