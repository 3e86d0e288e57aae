"""Whole numbers that stand for something (words, categories), looked up as whole numbers.

Keras 3 hands them to CategoryEncoding as floats, which int8 then rounds: another category comes out. Both Keras compute
it with operators that TensorFlow Lite (DENSE_BINCOUNT) or TensorFlow Lite Micro (ONE_HOT) do not have. Keras 3 lets
Embedding count negative numbers from the end, by a SELECT that few targets run. While a network is traced both are one
GATHER, with the same results for every number that the layers are documented to take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.naming import Part

MULTI_HOT, COUNT = "multi_hot", "count"


@contextmanager
def looked_up(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that look numbers up do it by a GATHER from what they know of each number."""
    with calling.exchanged((part.layer for part in found), _call_of):
        yield


def _call_of(layer: Any) -> Callable[..., Any] | None:
    """What stands in for a layer's own call; None where it stays."""
    kind = type(layer)
    if kind.__name__ == "Embedding" and kind.__module__.startswith("keras."):
        return calling.alone(layer.call, functools.partial(_embedded, layer))
    if kind.__name__ == "CategoryEncoding" and not getattr(layer, "sparse", False):
        return calling.alone(layer.call, functools.partial(_encoded, layer, layer.call))
    return None


def _embedded(layer: Any, inputs: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.gather(tf.convert_to_tensor(layer.embeddings), _numbers(inputs)), layer.compute_dtype)


def _encoded(layer: Any, own: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    shape = own(inputs).shape  # what it computes goes unused, and is dropped
    mode = layer.output_mode if inputs.shape.rank > 0 else ""
    rows = gathered(tf.eye(layer.num_tokens, dtype=layer.compute_dtype), _numbers(inputs), mode)
    return tf.reshape(rows, [-1 if size is None else size for size in shape])


def gathered(table: tf.Tensor, numbers: tf.Tensor, mode: str) -> tf.Tensor:
    """What a table knows of each number, or of the numbers of a sample together.

    Args:
        table: [known numbers, tokens] float.
        numbers: [..., numbers] positions in the table.
        mode: MULTI_HOT or COUNT for all numbers of the last axis together; any other for each.

    Returns:
        [..., tokens] for a mode of several, else [..., numbers, tokens].
    """
    # A mean of rows that are as large as there are numbers: LiteRT 2.3 sums int8 wrongly in its reference kernels.
    rows = tf.gather(numbers.shape[-1] * table if mode == COUNT else table, numbers)
    if mode not in (MULTI_HOT, COUNT):
        return rows
    return (tf.reduce_mean if mode == COUNT else tf.reduce_max)(rows, axis=-2)


def _numbers(inputs: tf.Tensor) -> tf.Tensor:
    """As whole numbers: what was cast to float just before is taken as it was."""
    if not inputs.dtype.is_integer and hasattr(inputs, "op") and inputs.op.type == "Cast":
        source = inputs.op.inputs[0]
        inputs = source if source.dtype.is_integer else inputs
    return inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
