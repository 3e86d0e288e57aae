"""Biases and weights at scales that kernels can multiply by, with every output as it was.

A kernel adds the bias to its sums as it is stored: it must have the scale of the input times that of the weights. The
converter stores a bias that several operators have in common once in int16x8, as a recurrent layer whose steps are
written out has it, on the scale of one of them. All others would add a multiple of it.

Where a requantization scale is 255 or more, a sum of 1 is as far as all of int8: what is not 0 ends at one end of the
range (of a fused activation) or at the other. Any smaller scale from 255 on computes the same from the same integers,
so that the scale alone is lowered, and with it that of the bias. Channels that are nearly dead have such scales.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.requantization import PLACES, Excess, excesses
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
_KEPT = 255.5  # between what saturates and what is refused, for float32 to fall on neither side


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


def bounded(data: bytes) -> bytes:
    """A file that XNNPACK does not refuse for its scales.

    Args:
        data: a .tflite file; one without such scales comes back as it is.

    Raises:
        StepError: the file is damaged.
    """
    found = list(excesses(inspect(data, "the file").graphs))
    if not found:
        return data
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    for excess in found:
        _bound(model, excess)
    return tight.pack(model)


def _bound(model: Any, excess: Excess) -> None:
    graph = model.subgraphs[excess.graph]
    operator = graph.operators[excess.operator]
    places = PLACES[excess.name]
    given = graph.tensors[operator.inputs[places.data]].quantization.scale[0]
    made = graph.tensors[operator.outputs[0]].quantization.scale[0]
    weights, *packed = _weights(graph, operator, places.weights)
    before = np.asarray(weights.quantization.scale, np.float32)
    after = np.minimum(before, np.float32(_KEPT * float(made) / float(given)))
    for tensor in (weights, *packed):
        tensor.quantization.scale = after
    if len(operator.inputs) > places.bias and operator.inputs[places.bias] >= 0:
        bias = _own(graph, operator, places.bias)
        scales = None if bias.quantization is None else bias.quantization.scale
        if scales is not None and len(scales) == len(before):
            bias.quantization.scale = np.where(after < before, after * np.float32(given), scales).astype(np.float32)


def _weights(graph: Any, operator: Any, place: int) -> list[Any]:
    """The weights as an operator reads them, and, where another unpacks them for it, as they are stored."""
    index = int(operator.inputs[place])
    unpacking = [each for each in graph.operators if index in each.outputs]
    return [_own(graph, operator, place), *(_own(graph, each, 0) for each in unpacking)]


def _own(graph: Any, operator: Any, place: int) -> Any:
    """What an operator alone reads: a copy of a constant, with the same buffer, where others read it as well."""
    index = int(operator.inputs[place])
    shared = graph.tensors[index]
    readers = sum(int(other) == index for each in graph.operators for other in each.inputs)
    if readers == 1 or any(index in each.outputs for each in graph.operators):
        return shared
    copy, copy.quantization = schema.TensorT(), schema.QuantizationParametersT()
    copy.__dict__.update(shared.__dict__, quantization=copy.quantization)
    copy.quantization.__dict__.update(shared.quantization.__dict__)
    graph.tensors.append(copy)
    operator.inputs = np.array(operator.inputs, np.int32)
    operator.inputs[place] = len(graph.tensors) - 1
    return copy
