"""Pooling over volumes by pooling over planes: TensorFlow Lite has no operators MaxPool3D and AvgPool3D.

The maximum of a box is the maximum of the maxima of its planes, and the mean the mean of their means, with the same
padding: each axis is padded, or its places counted, by itself. Rows and columns are pooled first, then depth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.naming import Part

_POOLS: dict[str, Callable[..., tf.Tensor]] = {
    "MaxPooling3D": tf.nn.max_pool2d,
    "AveragePooling3D": tf.nn.avg_pool2d,
}


@contextmanager
def by_planes(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that pool volumes pool planes."""
    with calling.exchanged((part.layer for part in found), _call_of):
        yield


def _call_of(layer: Any) -> Callable[..., Any] | None:
    """What stands in for a layer's own call; None where it stays."""
    pool = _POOLS.get(type(layer).__name__)
    if pool is None or layer.data_format != "channels_last":
        return None
    return calling.alone(layer.call, functools.partial(_pooled, layer, pool))


def _pooled(layer: Any, pool: Callable[..., tf.Tensor], volumes: tf.Tensor) -> tf.Tensor:
    """(batch, depth, rows, columns, channels), each axis pooled."""
    depth, rows, columns, channels = volumes.shape[1:]
    if None in (depth, rows, columns):
        return type(layer).call(layer, volumes)
    sizes, strides, padding = layer.pool_size, layer.strides, layer.padding.upper()
    planes = tf.reshape(volumes, (-1, rows, columns, channels))
    planes = pool(planes, sizes[1:], strides[1:], padding)
    rows, columns = planes.shape[1:3]
    flat = tf.reshape(planes, (-1, depth, rows * columns, channels))
    flat = pool(flat, (sizes[0], 1), (strides[0], 1), padding)
    return tf.reshape(flat, (-1, flat.shape[1], rows, columns, channels))
