"""Softmaxes at the precision that they need: finer inputs for int8 kernels, or float32 at the end of a network.

The kernels shift differences of their inputs to 26 bits behind the point, and LiteRT and TensorFlow Lite Micro end the
process where a step is smaller than that (PreprocessSoftmaxScaling asks for a multiplier greater than one); LiteRT's
optimized LOG_SOFTMAX fails from 2^-21 on (measured, 2.3.0). Networks whose signal vanishes on the way have such steps:
barely trained MobileNets, for one. All of int8 at a step of 2^-20 is 0.0002 wide, which changes no output.

TensorFlow Lite fixes the int8 grid of a softmax and of a sigmoid at steps of 1 / 256, whatever the network answers: a
probability of 1 is at most 0.996, and all below 0.002 are 0. A network that hands out floats has such a function in
front of its last DEQUANTIZE; behind it, the function reads the scores in float and its answers are on no grid.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild import readback
from edgebuild.flatbuffer.rewriting import operators, operators as opcodes, tight, unused

_KINDS = frozenset({schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.LOG_SOFTMAX})
_FINEST = 2.0**-20  # a step, times beta, that is more than what kernels need
_CHOSEN = 2.0**-20 * 1.01  # and one that stays above that when it is rounded to float32
_CODES = schema.BuiltinOperator
_FUNCTIONS = frozenset(getattr(_CODES, name) for name in readback.ANSWERS)


def with_coarser_inputs(data: bytes) -> bytes:
    """A file whose softmaxes run.

    Args:
        data: a .tflite file; one without such steps comes back as it is.

    Raises:
        ValueError: the file is damaged.
    """
    return operators.exchanged(data, _behind_a_coarser_input)


def _behind_a_coarser_input(model: Any, graph: Any, operator: Any) -> list[Any] | None:
    if operators.kind_of(model, operator) not in _KINDS or not _is_too_fine(graph, operator):
        return None
    return [_requantizing(model, graph, operator), operator]


def _is_too_fine(graph: Any, operator: Any) -> bool:
    tensor = graph.tensors[operator.inputs[0]]
    grid = operators.grid_of(tensor)
    return tensor.type == schema.TensorType.INT8 and grid is not None and grid.scale * _beta(operator) < _FINEST


def _beta(operator: Any) -> float:
    """What a softmax multiplies its input by; LOG_SOFTMAX has no such option."""
    return float(getattr(operator.builtinOptions, "beta", 1.0)) or 1.0


def _requantizing(model: Any, graph: Any, operator: Any) -> Any:
    """The operator that brings the input to a coarser grid, on which it is read from now on."""
    given = int(operator.inputs[0])
    coarse = copy.copy(graph.tensors[given])
    coarse.name, coarse.quantization = (coarse.name or b"") + b"_coarser", copy.copy(coarse.quantization)
    coarse.quantization.scale = np.array([_CHOSEN / _beta(operator)], np.float32)
    graph.tensors.append(coarse)
    operator.inputs = np.array([len(graph.tensors) - 1], np.int32)
    return operators.requantizing(model, coarse.type, given, len(graph.tensors) - 1)


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
