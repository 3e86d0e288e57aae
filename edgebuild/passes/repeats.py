"""Layers that repeat values, computed by PACK instead of TILE.

Both Keras trace RepeatVector and UpSampling1D to operators that become TILE, which TensorFlow Lite Micro and
accelerators do not have. The same tensor, stacked with itself, is the same values in the same order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.naming import Part


@contextmanager
def stacked(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that repeat what they are given stack it."""
    with calling.exchanged((part.layer for part in found), _call_of):
        yield


def _call_of(layer: Any) -> Callable[..., Any] | None:
    """What stands in for a layer's own call; None where it stays."""
    kind = type(layer)
    if kind.__name__ == "RepeatVector":
        return calling.alone(layer.call, functools.partial(_repeated, int(layer.n)))
    if kind.__name__ == "UpSampling1D":
        return calling.alone(layer.call, functools.partial(_spread, int(layer.size)))
    return None


def _repeated(times: int, rows: tf.Tensor) -> tf.Tensor:
    """(batch, channels) as (batch, times, channels)."""
    return tf.stack([rows] * times, axis=1)


def _spread(times: int, steps: tf.Tensor) -> tf.Tensor:
    """(batch, steps, channels) as (batch, steps * times, channels), each step `times` times in a row."""
    length, channels = steps.shape[1:]
    together = tf.stack([steps] * times, axis=2)
    return tf.reshape(together, (-1, length * times if length is not None else -1, channels))
