"""Int8 LSTMs whose tensors have the grids that the kernels compute on.

An LSTM without a projection computes its hidden values, keeps them as its output state, and hands them out: the same
integers three times. LiteRT's kernel writes them on the grid of the hidden values (the operator's last intermediate
tensor), TensorFlow Lite Micro's on that of the state, and the next step reads them on that of the state; nobody looks
at the output's. The converter measures a grid for each, and later operators that want all their inputs on one, as the
concatenation of a Bidirectional layer does, move that of the output: where the three differ, every output is off.

The kernels know tanh for cell states in int16 of at least 0 and at most 6 bits before the point (ApplyTanh in LiteRT's
kernel_utils). The converter gives cell states that stay below a half fewer than 0, whose tanh is left uncomputed.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import tight
from edgebuild.flatbuffer.rewriting.operators import grid_of, kind_of, requantizing

_CODES = schema.BuiltinOperator
_TYPES = schema.TensorType
# Among what UNIDIRECTIONAL_SEQUENCE_LSTM reads, and among its intermediate tensors.
_PROJECTION, _OUTPUT_STATE, _CELL_STATE, _HIDDEN = 16, 18, 19, 4
_LEAST_CELL_SCALE, _MOST_CELL_SCALE = 2.0**-15, 2.0**-9


class _Lstm(NamedTuple):
    """An operator, its cell state, and the tensors that hold the same integers."""

    operator: Any
    cell: Any
    hidden: Any
    state: Any
    output: Any


def agreed(data: bytes) -> bytes:
    """A file whose LSTMs have the grid of their hidden values everywhere; others read what they did, requantized.

    Args:
        data: a .tflite file; one in which they agree comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = [_agree(model, graph) for graph in model.subgraphs]
    return tight.pack(model) if any(changed) else data


def _agree(model: Any, graph: Any) -> bool:
    """Give the LSTMs of a graph one grid each; whether one had more."""
    operators: list[Any] = []
    changed = False
    for operator in graph.operators or ():
        operators.append(operator)
        found = _lstm(model, graph, operator)
        if found is None:
            continue
        changed = _bound(found.cell) or changed
        if len({grid_of(each) for each in (found.hidden, found.state, found.output)}) == 1:
            continue
        changed = True
        found.state.quantization = found.hidden.quantization
        if grid_of(found.output) != grid_of(found.hidden):
            operators.append(_requantizing(model, graph, found))
    graph.operators = operators
    return changed


def _lstm(model: Any, graph: Any, operator: Any) -> _Lstm | None:
    """An int8 LSTM without a projection; None for any other operator."""
    if kind_of(model, operator) != _CODES.UNIDIRECTIONAL_SEQUENCE_LSTM or operator.inputs[_PROJECTION] >= 0:
        return None
    intermediates = () if operator.intermediates is None else operator.intermediates
    state, cell = (graph.tensors[operator.inputs[place]] for place in (_OUTPUT_STATE, _CELL_STATE))
    output = graph.tensors[operator.outputs[0]]
    if state.type != _TYPES.INT8 or output.type != _TYPES.INT8 or len(intermediates) <= _HIDDEN:
        return None
    return _Lstm(operator, cell, graph.tensors[intermediates[_HIDDEN]], state, output)


def _bound(cell: Any) -> bool:
    """Give a cell state a scale that the kernels compute tanh for; whether it had another."""
    scale = float(cell.quantization.scale[0])
    bounded = min(max(scale, _LEAST_CELL_SCALE), _MOST_CELL_SCALE)
    cell.quantization.scale = np.array([bounded], np.float32)
    return bounded != scale


def _requantizing(model: Any, graph: Any, found: _Lstm) -> Any:
    """Let an LSTM write a tensor of its own; the operator that brings it to the grid that others read."""
    written = copy.copy(found.output)
    written.name, written.quantization = (found.output.name or b"") + b"_hidden", found.hidden.quantization
    graph.tensors.append(written)
    own, read = len(graph.tensors) - 1, int(found.operator.outputs[0])
    found.operator.outputs = np.array([own], np.int32)
    return requantizing(model, _TYPES.INT8, own, read)
