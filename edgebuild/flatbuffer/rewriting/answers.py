"""Answers computed in float32 where they leave an int8 network in float32 anyway.

TensorFlow Lite fixes the int8 grid of a softmax and of a sigmoid at steps of 1 / 256, whatever the network answers: a
probability of 1 is at most 0.996, and all below 0.002 are 0. A network that hands out floats has such a function in
front of its last DEQUANTIZE; behind it, the function reads the scores in float and its answers are on no grid.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild import readback
from edgebuild.flatbuffer.rewriting import opcodes, tight, unused

_CODES = schema.BuiltinOperator
_FUNCTIONS = frozenset(getattr(_CODES, name) for name in readback.ANSWERS)


def in_float(data: bytes) -> bytes:
    """A file that ends with DEQUANTIZE and a function in float where it ended with the function and DEQUANTIZE.

    Args:
        data: a .tflite file; one without such an end comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    operators = list(enumerate(graph.operators or ()))
    made_by = {index: place for place, operator in operators for index in unused.present(operator.outputs)}
    reads = Counter(index for _, operator in operators for index in unused.present(operator.inputs))
    ends = [place for place in map(made_by.get, unused.present(graph.outputs)) if place is not None]
    turned = [place for place in dict.fromkeys(ends) if _turn(model, graph, place, made_by, reads)]
    if not turned:
        return data
    unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    return tight.pack(model)


def _turn(model: Any, graph: Any, last: int, made_by: dict[int, int], reads: Counter[int]) -> bool:
    """Change the places of a DEQUANTIZE and of the function before it; whether they stood so, for this alone."""
    dequantize = graph.operators[last]
    if opcodes.kind_of(model, dequantize) != _CODES.DEQUANTIZE:
        return False
    answers, output = int(dequantize.inputs[0]), int(dequantize.outputs[0])
    before = made_by.get(answers)
    if before is None or reads[answers] > 1 or answers in graph.outputs:
        return False
    function = graph.operators[before]
    if opcodes.kind_of(model, function) not in _FUNCTIONS:
        return False
    scores = int(function.inputs[0])
    if graph.tensors[scores].type != schema.TensorType.INT8:
        return False
    between = graph.tensors[answers]  # holds the scores in float from now on
    between.type, between.quantization = schema.TensorType.FLOAT32, None
    between.shape, between.shapeSignature = graph.tensors[scores].shape, graph.tensors[scores].shapeSignature
    between.name = graph.tensors[scores].name + b"_dequantized"
    dequantize.inputs, dequantize.outputs = function.inputs, function.outputs
    function.inputs, function.outputs = np.array([answers], np.int32), np.array([output], np.int32)
    function.opcodeIndex = opcodes.place(model, opcodes.kind_of(model, function), 1)
    graph.operators[before], graph.operators[last] = dequantize, function
    return True
