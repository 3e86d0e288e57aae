"""Operators that only move values: on the grid on which they read them, and as those that a target has.

Their kernels copy integers, or look for the same scale on both sides. The converter sees to that for most of them; for
some (REVERSE_V2, in a Bidirectional layer that gives sequences) a later operator that wants its inputs on one grid
moves that of the output alone, and every value that comes out is another one.

Both copy the same values: nothing else changes. Layers that step through a sequence take it apart by UNPACK where
their steps are written out, and their gates by SPLIT_V; the Edge TPU has neither. TensorFlow Lite Micro unpacks no
truth values, as masks of sequences are: those are sliced for every target, since LiteRT runs both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import operators

_CODES = schema.BuiltinOperator
_MOVING = frozenset(
    getattr(_CODES, name)
    for name in (
        *("BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "GATHER_ND", "RESHAPE"),
        *("REVERSE_SEQUENCE", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V"),
        *("SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"),
    )
)
_SECOND = frozenset({_CODES.SPLIT})  # the values that are moved come after the axis
_TYPES = schema.TensorType
# The first versions of STRIDED_SLICE that take tensors of a type; all others are of the first.
_VERSIONS = {_TYPES.INT8: 2, _TYPES.BOOL: 3, _TYPES.INT16: 4}


def requantized(data: bytes) -> bytes:
    """A file in which values keep their grid where they are moved, and change it behind that where others want another.

    Args:
        data: a .tflite file; one in which all keep theirs comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    return operators.exchanged(data, _with_what_follows)


def _with_what_follows(model: Any, graph: Any, operator: Any) -> list[Any] | None:
    behind = list(_behind(model, graph, operator))
    return [operator, *behind] if behind else None


def _behind(model: Any, graph: Any, operator: Any) -> Iterator[Any]:
    """What brings the results of one operator to the grids that they are read on."""
    kind = operators.kind_of(model, operator)
    if kind not in _MOVING:
        return
    given = graph.tensors[operator.inputs[1 if kind in _SECOND else 0]]
    for number, index in enumerate(operator.outputs):
        wanted = graph.tensors[index]
        if (
            given.type != wanted.type
            or wanted.type not in operators.VERSIONS
            or None in (operators.grid_of(given), operators.grid_of(wanted))
        ):
            continue
        if operators.grid_of(given) == operators.grid_of(wanted):
            continue
        written = copy.copy(wanted)
        written.name, written.quantization = (wanted.name or b"") + b"_moved", given.quantization
        graph.tensors.append(written)
        own = len(graph.tensors) - 1
        operator.outputs = np.array(operator.outputs, np.int32)
        operator.outputs[number] = own
        yield operators.requantizing(model, wanted.type, own, int(index))


class _Cuts(NamedTuple):
    """How a tensor is taken apart.

    Attributes:
        given: its index.
        axis: along which.
        places: where each part begins, and where the last one ends.
        drops: whether parts have that axis no more.
    """

    given: int
    axis: int
    places: Sequence[int]
    drops: bool


def _unpack(_: Any, graph: Any, operator: Any) -> _Cuts | None:
    given = int(operator.inputs[0])
    rank = len(graph.tensors[given].shape)
    return _Cuts(given, operator.builtinOptions.axis % rank, range(len(operator.outputs) + 1), drops=True)


def _split(model: Any, graph: Any, operator: Any) -> _Cuts | None:
    axis = _constant(model, graph, operator.inputs[0])
    if axis is None:
        return None
    given = int(operator.inputs[1])
    shape, parts = graph.tensors[given].shape, len(operator.outputs)
    along = int(axis[0]) % len(shape)
    size = int(shape[along]) // parts
    return _Cuts(given, along, range(0, size * parts + 1, size), drops=False)


def _split_by_sizes(model: Any, graph: Any, operator: Any) -> _Cuts | None:
    given = int(operator.inputs[0])
    sizes, axis = (_constant(model, graph, operator.inputs[number]) for number in (1, 2))
    if sizes is None or axis is None:
        return None
    shape = graph.tensors[given].shape
    along = int(axis[0]) % len(shape)
    left = int(shape[along]) - int(sizes[sizes >= 0].sum())
    return _Cuts(given, along, [0, *map(int, np.where(sizes < 0, left, sizes).cumsum())], drops=False)


_CUTS: dict[str, Callable[[Any, Any, Any], _Cuts | None]] = {
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_by_sizes,
}


def slices_in_place_of(data: bytes, kinds: Collection[str]) -> bytes:
    """A file without operators of some kinds, and without any UNPACK of truth values.

    Args:
        data: a .tflite file; one that has none of these comes back as it is.
        kinds: UNPACK, SPLIT, SPLIT_V or some of them. One that takes apart by what is known only as it runs stays.

    Raises:
        ValueError: the file is damaged.
    """
    cuts_of = {getattr(_CODES, kind): _CUTS[kind] for kind in kinds}

    def sliced(model: Any, graph: Any, operator: Any) -> Iterator[Any] | None:
        kind = operators.kind_of(model, operator)
        find = _unpack if kind == _CODES.UNPACK and _is_of_truth_values(graph, operator) else cuts_of.get(kind)
        cuts = None if find is None else find(model, graph, operator)
        return None if cuts is None else _slices(model, graph, operator, cuts)

    return operators.exchanged(data, sliced)


def _is_of_truth_values(graph: Any, operator: Any) -> bool:
    return bool(graph.tensors[operator.inputs[0]].type == _TYPES.BOOL)


def _slices(model: Any, graph: Any, operator: Any, cuts: _Cuts) -> Iterator[Any]:
    tensor = graph.tensors[cuts.given]
    rank = len(tensor.shape)
    ones = _added(model, graph, [1] * rank)
    bounds = [_added(model, graph, [place * (axis == cuts.axis) for axis in range(rank)]) for place in cuts.places]
    for number, output in enumerate(operator.outputs):
        ends = [cuts.given, bounds[number], bounds[number + 1], ones]
        made = operators.operator(model, _CODES.STRIDED_SLICE, _VERSIONS.get(tensor.type, 1), ends, int(output))
        made.builtinOptionsType = schema.BuiltinOptions.StridedSliceOptions
        options = made.builtinOptions = schema.StridedSliceOptionsT()
        options.beginMask = options.endMask = ((1 << rank) - 1) & ~(1 << cuts.axis)  # all of every other axis
        options.shrinkAxisMask = 1 << cuts.axis if cuts.drops else 0
        yield made


def _constant(model: Any, graph: Any, index: int) -> Any:
    """The values of a constant of int32; None for what is computed."""
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    if tensor.type != _TYPES.INT32 or data is None or not len(data):
        return None
    return np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32)


def _added(model: Any, graph: Any, values: Sequence[int]) -> int:
    """A new constant of int32."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.type, tensor.shape, tensor.buffer = _TYPES.INT32, np.array([len(values)], np.int32), len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
