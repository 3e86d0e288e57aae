"""Whole numbers that stand for something (words, categories), looked up by one GATHER.

A table is a resource that neither TensorFlow Lite Micro nor int8 kernels have. Where a vocabulary of whole numbers
spans a small range, the layer's results for all numbers of it (and for one below and one above, which no vocabulary
holds) are a constant, and every other number is as unknown as those two.

Keras 3 hands them to CategoryEncoding as floats, which int8 then rounds: another category comes out. Both Keras compute
it with operators that TensorFlow Lite (DENSE_BINCOUNT) or TensorFlow Lite Micro (ONE_HOT) do not have. Keras 3 lets
Embedding count negative numbers from the end, by a SELECT that few targets run. While a network is traced both are one
GATHER, with the same results for every number that the layers are documented to take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.errors import StepError
from edgebuild.passes import calling
from edgebuild.passes.naming import Part

_LARGEST = 1 << 20  # values of a constant
_INT, _ONE_HOT = "int", "one_hot"
_KINDS = frozenset({"Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"})
_MULTI_HOT, _COUNT = "multi_hot", "count"


class Table(NamedTuple):
    """What a layer makes of each number from `low` on; the first and the last stand for all that it does not know."""

    low: int
    rows: npt.NDArray[Any]


class Lookup(NamedTuple):
    """A layer, and what it makes of each number."""

    layer: Any
    table: Table


def lookups_of(found: Sequence[Part]) -> list[Lookup]:
    """The lookup layers among some, with what they make of their numbers.

    Raises:
        StepError: one looks up what no constant can hold; it is named.
    """
    return [Lookup(part.layer, _required(part)) for part in found if _is_lookup(part.layer)]


def _required(part: Part) -> Table:
    table = _table(part.layer)
    if table is None:
        raise StepError(
            f"the layer {part.name} ({type(part.layer).__name__}) looks its input up in a way that TensorFlow Lite "
            "cannot compute",
            "Words, hashes and vocabularies over a wide range of numbers need tables that its kernels do not have.",
            "Look the input up before the network: call a model of this layer alone on the data, and give a "
            "network that begins behind it (with an Input of the layer's output) what comes out.",
        )
    return table


@contextmanager
def tables_looked_up(lookups: Sequence[Lookup]) -> Iterator[None]:
    """While this lasts, lookup layers find their results by a GATHER from a constant."""
    calls = [(layer, functools.partial(_gathered, layer, layer.call, table)) for layer, table in lookups]
    with calling.replaced(calls):
        yield


def _is_lookup(layer: Any) -> bool:
    return type(layer).__name__ in _KINDS and type(layer).__module__.startswith(("keras.", "tf_keras."))


def _table(layer: Any) -> Table | None:
    """The results of a layer for all numbers around its vocabulary; None where they are too many, or no constant."""
    known = type(layer).__name__ == "IntegerLookup" and layer.num_oov_indices == 1 and not layer.invert
    if not known or layer.sparse or layer.output_mode not in (_INT, _ONE_HOT, _MULTI_HOT, _COUNT):
        return None
    words = [int(word) for word in layer.get_vocabulary(include_special_tokens=False)]
    special = [] if layer.mask_token is None else [int(layer.mask_token)]
    low, high = min([*words, *special], default=0) - 1, max([*words, *special], default=0) + 1
    numbers = np.arange(low, high + 1) if high - low < _LARGEST else None
    if numbers is None or len(numbers) * (1 if layer.output_mode == _INT else len(words) + 2) > _LARGEST:
        return None
    rows = np.asarray(layer.call(tf.constant(numbers[:, None], tf.int64)))
    return Table(low, rows.reshape(len(numbers), *([] if layer.output_mode == _INT else [-1])))


def _numbers(rows: npt.NDArray[Any], places: tf.Tensor) -> tf.Tensor:
    """Whole numbers of a table; as int8 where they fit, since TensorFlow Lite Micro looks up no wider ones."""
    limits = np.iinfo(np.int8)
    if limits.min <= rows.min() and rows.max() <= limits.max:
        return tf.cast(tf.gather(tf.constant(rows.astype(np.int8)), places), rows.dtype)
    return tf.gather(tf.constant(rows), places)


def _gathered(layer: Any, own: Any, table: Table, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(inputs, tf.Tensor) or not inputs.dtype.is_integer:
        return own(inputs, *args, **kwargs)
    low, last = table.low, table.low + len(table.rows) - 1
    bounds = [tf.constant(bound, inputs.dtype) for bound in (low, last)]
    # What is left of the range fits, and TensorFlow Lite Micro subtracts no 64-bit numbers.
    places = tf.cast(tf.minimum(tf.maximum(inputs, bounds[0]), bounds[1]), tf.int32) - low
    if layer.output_mode == _INT:
        return _numbers(table.rows, places)
    # Keras 3 gives int64 here, though it declares float32: as that they are quantized like all that follows.
    known = tf.constant(table.rows.astype(np.float32))
    rows = _rows_of_codes(known, places, layer.output_mode if inputs.shape.rank > 1 else "")
    one = layer.output_mode == _ONE_HOT and inputs.shape.rank > 1 and inputs.shape[-1] == 1
    return tf.squeeze(rows, -2) if one else rows


@contextmanager
def codes_looked_up(found: Sequence[Part]) -> Iterator[None]:
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
    return tf.cast(tf.gather(tf.convert_to_tensor(layer.embeddings), _as_codes(inputs)), layer.compute_dtype)


def _encoded(layer: Any, own: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    shape = own(inputs).shape  # what it computes goes unused, and is dropped
    mode = layer.output_mode if inputs.shape.rank > 0 else ""
    rows = _rows_of_codes(tf.eye(layer.num_tokens, dtype=layer.compute_dtype), _as_codes(inputs), mode)
    return tf.reshape(rows, [-1 if size is None else size for size in shape])


def _rows_of_codes(table: tf.Tensor, numbers: tf.Tensor, mode: str) -> tf.Tensor:
    """What a table knows of each number, or of the numbers of a sample together.

    Args:
        table: [known numbers, tokens] float.
        numbers: [..., numbers] positions in the table.
        mode: MULTI_HOT or COUNT for all numbers of the last axis together; any other for each.

    Returns:
        [..., tokens] for a mode of several, else [..., numbers, tokens].
    """
    # A mean of rows that are as large as there are numbers: LiteRT 2.3 sums int8 wrongly in its reference kernels.
    rows = tf.gather(numbers.shape[-1] * table if mode == _COUNT else table, numbers)
    if mode not in (_MULTI_HOT, _COUNT):
        return rows
    return (tf.reduce_mean if mode == _COUNT else tf.reduce_max)(rows, axis=-2)


def _as_codes(inputs: tf.Tensor) -> tf.Tensor:
    """As whole numbers: what was cast to float just before is taken as it was."""
    if not inputs.dtype.is_integer and hasattr(inputs, "op") and inputs.op.type == "Cast":
        source = inputs.op.inputs[0]
        inputs = source if source.dtype.is_integer else inputs
    return inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
