"""Operators that only move values and therefore write them on the grid on which they read them.

Their kernels copy integers, or look for the same scale on both sides. The converter sees to that for most of them; for
some (REVERSE_V2, in a Bidirectional layer that gives sequences) a later operator that wants its inputs on one grid
moves that of the output alone, and every value that comes out is another one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import exchanging, grids, opcodes

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


def requantized(data: bytes) -> bytes:
    """A file in which values keep their grid where they are moved, and change it behind that where others want another.

    Args:
        data: a .tflite file; one in which all keep theirs comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    return exchanging.exchanged(data, _with_what_follows)


def _with_what_follows(model: Any, graph: Any, operator: Any) -> list[Any] | None:
    behind = list(_behind(model, graph, operator))
    return [operator, *behind] if behind else None


def _behind(model: Any, graph: Any, operator: Any) -> Iterator[Any]:
    """What brings the results of one operator to the grids that they are read on."""
    kind = opcodes.kind_of(model, operator)
    if kind not in _MOVING:
        return
    given = graph.tensors[operator.inputs[1 if kind in _SECOND else 0]]
    for number, index in enumerate(operator.outputs):
        wanted = graph.tensors[index]
        if (
            given.type != wanted.type
            or wanted.type not in grids.VERSIONS
            or None in (grids.of(given), grids.of(wanted))
        ):
            continue
        if grids.of(given) == grids.of(wanted):
            continue
        written = copy.copy(wanted)
        written.name, written.quantization = (wanted.name or b"") + b"_moved", given.quantization
        graph.tensors.append(written)
        own = len(graph.tensors) - 1
        operator.outputs = np.array(operator.outputs, np.int32)
        operator.outputs[number] = own
        yield grids.requantizing(model, wanted.type, own, int(index))
