"""Operators that clear their own state, so that every inference starts as the first one does.

An LSTM as one operator keeps its state in variables of the file, and both LiteRT and TensorFlow Lite Micro leave there
what the last inference wrote. A network whose layer starts from zero for each input needs them at zero again: two
operators at the end see to it. In integers state - state is zero on the state's own grid; QUANTIZE writes it, for
LiteRT's memory plan takes no arithmetic that writes to a variable. In float it is ZEROS_LIKE.
"""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import opcodes, tight, unused

_CODES, _TYPES = schema.BuiltinOperator, schema.TensorType
_CLEARING = frozenset({_CODES.ZEROS_LIKE, _CODES.QUANTIZE})
# The first versions of SUB and QUANTIZE that take tensors of a type.
_VERSIONS = {_TYPES.INT8: (2, 2), _TYPES.INT16: (5, 3)}


def cleared(data: bytes) -> bytes:
    """A file whose variable tensors are zero after each inference.

    Args:
        data: a .tflite file; one without variable tensors, or whose operators clear them, comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    changed = False
    for graph in model.subgraphs:
        clearing = [each for each in graph.operators or () if opcodes.kind_of(model, each) in _CLEARING]
        done = {index for each in clearing for index in unused.present(each.outputs)}
        for index, tensor in enumerate(list(graph.tensors)):
            if tensor.isVariable and index not in done:
                _clear(model, graph, index)
                changed = True
    return tight.pack(model) if changed else data


def _clear(model: Any, graph: Any, index: int) -> None:
    state = graph.tensors[index]
    if state.type == _TYPES.FLOAT32:
        graph.operators.append(opcodes.operator(model, _CODES.ZEROS_LIKE, 1, [index], index))
        return
    subtracting, quantizing = _VERSIONS[state.type]
    zero = copy.copy(state)
    zero.isVariable, zero.name = False, (state.name or b"") + b"_cleared"
    graph.tensors.append(zero)
    made = len(graph.tensors) - 1
    difference = opcodes.operator(model, _CODES.SUB, subtracting, [index, index], made)
    difference.builtinOptionsType = schema.BuiltinOptions.SubOptions
    difference.builtinOptions = schema.SubOptionsT()
    difference.builtinOptions.potScaleInt16 = False
    graph.operators += [difference, opcodes.operator(model, _CODES.QUANTIZE, quantizing, [made], index)]
