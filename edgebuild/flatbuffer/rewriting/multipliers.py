"""Weights whose scales stay within what XNNPACK multiplies by; every output stays as it is, bit for bit.

Where a requantization scale is 255 or more, a sum of 1 is as far as all of int8: what is not 0 ends at one end of the
range (of a fused activation) or at the other. Any smaller scale from 255 on computes the same from the same integers,
so that the scale alone is lowered, and with it that of the bias. Channels that are nearly dead have such scales.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.requantization import PLACES, Excess, excesses
from edgebuild.flatbuffer.rewriting import tight

_KEPT = 255.5  # between what saturates and what is refused, for float32 to fall on neither side


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
