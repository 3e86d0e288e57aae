"""Layers computed by operators that TensorFlow Lite has, in place of those that Keras takes.

The converter leaves NEG in float, so that no network with a layer normalization of Keras 3 runs on targets without it.
Other negations stay: the converter knows PRELU and GELU by them.

Both Keras trace RepeatVector and UpSampling1D to operators that become TILE, which TensorFlow Lite Micro and
accelerators do not have. The same tensor, stacked with itself, is the same values in the same order.

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


def negations_as_products(graph: Any, results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Give all that reads a negated mean in a function that is being traced the product; its results likewise."""
    made = list(results)
    for op in [op for op in graph.get_operations() if _is_of_mean(op)]:
        (negated,) = op.outputs
        readers = [(reader, at) for reader in negated.consumers() for at, given in enumerate(reader.inputs)]
        scope = op.name.rpartition("/")[0]
        with tf.name_scope(f"{scope}/" if scope else "negation/"):
            product = op.inputs[0] * tf.constant(-1.0)
        for reader, at in readers:
            if reader.inputs[at] is negated:
                reader._update_input(at, product)
        made = [product if result is negated else result for result in made]
    return made


def _is_of_mean(op: Any) -> bool:
    """Whether it negates the mean of a normalization: it is multiplied by an inverse deviation and by nothing else."""
    if op.type != "Neg" or op.outputs[0].dtype != tf.float32 or op.inputs[0].op.type != "Mean":
        return False
    readers = op.outputs[0].consumers()
    return bool(readers) and all(reader.type == "Mul" and any(map(_is_inverse, reader.inputs)) for reader in readers)


def _is_inverse(tensor: tf.Tensor) -> bool:
    """Whether a tensor is an inverse deviation, times the scale of the layer if it has one."""
    made_of = [tensor, *(tensor.op.inputs if tensor.op.type == "Mul" else ())]
    return any(part.op.type == "Rsqrt" for part in made_of)


@contextmanager
def repeats_stacked(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that repeat what they are given stack it."""
    with calling.exchanged((part.layer for part in found), _repeating_call):
        yield


def _repeating_call(layer: Any) -> Callable[..., Any] | None:
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


@contextmanager
def volumes_pooled_by_planes(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that pool volumes pool planes."""
    with calling.exchanged((part.layer for part in found), _pooling_call):
        yield


def _pooling_call(layer: Any) -> Callable[..., Any] | None:
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
