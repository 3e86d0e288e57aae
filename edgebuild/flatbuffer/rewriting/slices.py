"""UNPACK as one STRIDED_SLICE for each of its results, for targets that have the one and not the other.

Both copy the same values: nothing else changes. Layers that step through a sequence take it apart by UNPACK where
their steps are written out, which the Edge TPU has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import opcodes, tight

_CODES, _TYPES = schema.BuiltinOperator, schema.TensorType
# The first versions of STRIDED_SLICE that take tensors of a type; all others are of the first.
_VERSIONS = {_TYPES.INT8: 2, _TYPES.BOOL: 3, _TYPES.INT16: 4}


def in_place_of_unpack(data: bytes) -> bytes:
    """A file that has no UNPACK.

    Args:
        data: a .tflite file; one without UNPACK comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = False
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators or ():
            if opcodes.kind_of(model, operator) == _CODES.UNPACK:
                operators += _slices(model, graph, operator)
                changed = True
            else:
                operators.append(operator)
        graph.operators = operators
    return tight.pack(model) if changed else data


def _slices(model: Any, graph: Any, operator: Any) -> Iterator[Any]:
    given = int(operator.inputs[0])
    tensor = graph.tensors[given]
    rank, axis = len(tensor.shape), operator.builtinOptions.axis % len(tensor.shape)
    version = _VERSIONS.get(tensor.type, 1)
    ones = _constant(model, graph, [1] * rank)
    bounds = [
        _constant(model, graph, [place * (each == axis) for each in range(rank)])
        for place in range(len(operator.outputs) + 1)
    ]
    for place, output in enumerate(operator.outputs):
        ends = [given, bounds[place], bounds[place + 1], ones]
        made = opcodes.operator(model, _CODES.STRIDED_SLICE, version, ends, int(output))
        made.builtinOptionsType = schema.BuiltinOptions.StridedSliceOptions
        made.builtinOptions = schema.StridedSliceOptionsT()
        # All of every other axis; the one that is taken apart is gone from the result, as UNPACK leaves it.
        made.builtinOptions.beginMask = made.builtinOptions.endMask = ((1 << rank) - 1) & ~(1 << axis)
        made.builtinOptions.shrinkAxisMask = 1 << axis
        yield made


def _constant(model: Any, graph: Any, values: Sequence[int]) -> int:
    """A new tensor of int32 that nothing writes."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.type, tensor.shape, tensor.buffer = _TYPES.INT32, np.array([len(values)], np.int32), len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
