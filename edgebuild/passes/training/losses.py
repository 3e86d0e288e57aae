"""Losses of distillation; each is a mean over the batch, float32."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgebuild.metrics import IGNORED
from edgebuild.passes.training.heads import Head

_EPSILON = 1e-9


def soft(taught: Any, teacher: Any, head: Head, temperature: float, scale: float = 1.0) -> Any:
    """How far a student's answers are from a teacher's.

    Classes: temperature squared times the Kullback-Leibler divergence of the softened distributions (Hinton, Vinyals
    and Dean 2015, "Distilling the knowledge in a neural network", section 2); independent answers likewise, each by
    itself; values: the mean square difference relative to `scale`.

    Args:
        taught: [batch, ...] logits or values of the student.
        teacher: the same of the teacher.
        head: what they mean.
        temperature: over one softens; no effect on values.
        scale: the variance of the values over the data: of a batch it may be next to nothing.
    """
    if head == Head.CLASSES:
        targets = tf.nn.softmax(teacher / temperature)
        ours, theirs = tf.nn.log_softmax(taught / temperature), tf.nn.log_softmax(teacher / temperature)
        return temperature**2 * tf.reduce_mean(tf.reduce_sum(targets * (theirs - ours), axis=-1))
    if head == Head.ANSWERS:
        targets = tf.sigmoid(teacher / temperature)
        cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=taught / temperature)
        own = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=teacher / temperature)
        return temperature**2 * tf.reduce_mean(cross - own)
    return tf.reduce_mean(tf.square(taught - teacher)) / scale


def hard(taught: Any, y: Any, head: Head, scale: float = 1.0, *, ignores: bool = False) -> Any:
    """How far a student's answers are from the labels.

    Args:
        taught: [batch, classes] logits, or values.
        y: [batch] or [batch, 1] class numbers, [batch, classes] one-hot or smoothed, or as many values as `taught`.
        head: what they mean.
        scale: as for `soft`.
        ignores: whether class numbers, or yes and no, are IGNORED where they say nothing.
    """
    classes = taught.shape[-1] or 0
    # Class numbers have no axis for the classes, or one of size 1, whatever their type is.
    numbered = classes > 1 and (y.shape.rank < taught.shape.rank or y.shape[-1] == 1)
    numbers = tf.reshape(tf.cast(y, tf.int64), tf.shape(taught)[:-1]) if numbered and head != Head.VALUES else None
    if head == Head.CLASSES:
        if numbers is not None:
            known = tf.maximum(numbers, 0)
            cross = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=known, logits=taught)
            return _mean(cross, numbers) if ignores else tf.reduce_mean(cross)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=tf.cast(y, taught.dtype), logits=taught))
    if head == Head.ANSWERS and numbers is not None:
        y = tf.one_hot(numbers, classes)
        if ignores:
            y = tf.where(tf.expand_dims(numbers == IGNORED, -1), float(IGNORED), y)
    answers = tf.reshape(tf.cast(y, taught.dtype), tf.shape(taught))
    if head == Head.ANSWERS:
        cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=answers, logits=taught)
        return _mean(cross, answers) if ignores else tf.reduce_mean(cross)
    return tf.reduce_mean(tf.square(taught - answers)) / scale


def _mean(cross: Any, answers: Any) -> Any:
    """Over what is not ignored; 0 where all is."""
    counts = tf.cast(answers != IGNORED, cross.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(cross * counts), tf.reduce_sum(counts))


def feature(ours: Any, theirs: Any) -> Any:
    """Mean square difference of two layers' outputs of one shape, relative to the teacher's own mean square.

    Romero et al. 2015, "FitNets: hints for thin deep nets", section 2.2; made relative so that one weight suits layers
    of every scale.
    """
    return tf.reduce_mean(tf.square(ours - theirs)) / (tf.reduce_mean(tf.square(theirs)) + _EPSILON)


def attention(ours: Any, theirs: Any) -> Any:
    """Difference of the normalised maps of where two layers are active; channel counts may differ.

    Zagoruyko and Komodakis 2017, "Paying more attention to attention", section 3.1, with the sum of squares over the
    channels.

    Args:
        ours: [batch, ..., channels] of the student.
        theirs: [batch, ..., channels] of the teacher, of the same size along all axes but the last.
    """
    maps = [_normalised(tf.reduce_sum(tf.square(layer), axis=-1)) for layer in (ours, theirs)]
    return tf.reduce_mean(tf.reduce_sum(tf.square(maps[0] - maps[1]), axis=-1))


def relation(ours: Any, theirs: Any) -> Any:
    """Difference of the distances between the samples of a batch, as two layers of any shapes see them.

    Park et al. 2019, "Relational knowledge distillation", section 3.2.1 (distance-wise, Huber loss).
    """
    return tf.reduce_mean(_huber(_distances(ours) - _distances(theirs)))


def _normalised(maps: Any) -> Any:
    return tf.math.l2_normalize(tf.reshape(maps, [tf.shape(maps)[0], -1]), axis=-1)


def _distances(layer: Any) -> Any:
    """[batch, batch], relative to their mean."""
    flat = tf.reshape(layer, [tf.shape(layer)[0], -1])
    squares = tf.reduce_sum(tf.square(flat), axis=1)
    distances = squares[:, tf.newaxis] + squares[tf.newaxis, :] - 2 * tf.matmul(flat, flat, transpose_b=True)
    distances = tf.sqrt(tf.maximum(distances, _EPSILON))  # the root has no gradient at zero
    return distances / (tf.reduce_mean(distances) + _EPSILON)


def _huber(difference: Any) -> Any:
    size = tf.abs(difference)
    return tf.where(size <= 1, 0.5 * tf.square(difference), size - 0.5)
