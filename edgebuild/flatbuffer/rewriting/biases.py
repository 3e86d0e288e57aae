"""Biases that several operators share although they read inputs of different scales.

A kernel adds the bias to its sums as it is stored: it must have the scale of the input times that of the weights. The
converter stores a bias that several operators have in common once in int16x8, as a recurrent layer whose steps are
written out has it, on the scale of one of them. All others would add a multiple of it.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.rewriting import tight

_CODES = schema.BuiltinOperator
# Where an operator's input, weights and bias stand among what it reads.
_ENDS = {
    _CODES.FULLY_CONNECTED: (0, 1, 2),
    _CODES.CONV_2D: (0, 1, 2),
    _CODES.DEPTHWISE_CONV_2D: (0, 1, 2),
    _CODES.TRANSPOSE_CONV: (2, 1, 3),
}
_DTYPES: dict[int, Any] = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}
_TOLERANCE = 1e-5  # scales are float32


def unshared(data: bytes) -> bytes:
    """A file in which each operator has its bias on the scale that its kernel expects.

    Args:
        data: a .tflite file; one whose biases are right comes back as it is.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    changed = [
        _rescaled(model, graph, operator, _ENDS[codes[operator.opcodeIndex]])
        for graph in model.subgraphs
        for operator in graph.operators
        if codes[operator.opcodeIndex] in _ENDS
    ]
    return tight.pack(model) if any(changed) else data


def _rescaled(model: Any, graph: Any, operator: Any, ends: tuple[int, int, int]) -> bool:
    """Give an operator a bias of its own where the one that it has is on another scale; whether it was."""
    if len(operator.inputs) <= ends[2] or operator.inputs[ends[2]] < 0:
        return False
    given, weights, bias = (graph.tensors[operator.inputs[end]] for end in ends)
    scales = [_scales(tensor) for tensor in (given, weights, bias)]
    content = model.buffers[bias.buffer].data
    if bias.type not in _DTYPES or content is None or any(not scale.size for scale in scales):
        return False
    needed, has = scales[0] * scales[1], scales[2]
    if np.allclose(has, needed, rtol=_TOLERANCE, atol=0.0):
        return False
    dtype = _DTYPES[bias.type]
    stored = np.frombuffer(np.asarray(content, np.uint8).tobytes(), dtype).astype(np.float64)
    limits = np.iinfo(dtype)
    # The largest int64 is no float64: the one below it is the limit.
    values = np.clip(np.rint(stored * has / needed), limits.min, np.nextafter(float(limits.max), 0.0)).astype(dtype)
    own, buffer = copy.copy(bias), schema.BufferT()
    own.quantization = copy.copy(bias.quantization)
    own.quantization.scale = needed.astype(np.float32)
    own.quantization.zeroPoint = np.zeros(needed.size, np.int64)
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    own.buffer = len(model.buffers) - 1
    graph.tensors.append(own)
    inputs = np.array(operator.inputs, np.int32)
    inputs[ends[2]] = len(graph.tensors) - 1
    operator.inputs = inputs
    return True


def _scales(tensor: Any) -> Any:
    """The scales of a tensor, in float64; none where it is not quantized."""
    quantization = tensor.quantization
    found = quantization.scale if quantization is not None else None
    return np.asarray([] if found is None else found, np.float64)
