"""Taking out of a model what no kernel reads. All functions change a ModelT of the schema's object API in place."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BUILTIN = schema.BuiltinOperator
_BIASED = frozenset({_BUILTIN.CONV_2D, _BUILTIN.DEPTHWISE_CONV_2D, _BUILTIN.FULLY_CONNECTED})
_WEIGHTS_INPUT, _BIAS_INPUT = 1, 2
_INT_ACTIVATIONS = frozenset({schema.TensorType.INT8, schema.TensorType.INT16})
# The schema's default: no such entry.
_NO_DEBUG_METADATA = -1


def strip_model(model: Any, *, metadata: Collection[str], signatures: bool) -> None:
    """Drop the description, the metadata entries that are not named, and signatures unless they are wanted."""
    model.description = None
    model.metadataBuffer = None
    model.metadata = [
        e for e in model.metadata or () if e.name and e.name.decode("utf-8", "replace") in metadata
    ] or None
    if not (signatures and model.signatureDefs):
        model.signatureDefs = None


def strip_names(graph: Any, *, but_ends: bool) -> None:
    """Drop the names of a graph and of its tensors; those of its inputs and outputs may be wanted."""
    graph.name = None
    ends = {int(index) for index in (*graph.inputs, *graph.outputs)} if but_ends else set()
    for index, tensor in enumerate(graph.tensors):
        if index not in ends:
            tensor.name = None


def strip_graph(graph: Any) -> None:
    """Drop what the converter notes for itself: ranges, shapes said twice, empty lists, places in debug information."""
    graph.debugMetadataIndex = _NO_DEBUG_METADATA
    for tensor in graph.tensors:
        tensor.quantization = _stripped(tensor.quantization)
        if _same(tensor.shapeSignature, tensor.shape) or _is_empty(tensor.shapeSignature):
            tensor.shapeSignature = None
    for operator in graph.operators or ():
        operator.debugMetadataIndex = _NO_DEBUG_METADATA
        if _is_empty(operator.intermediates):
            operator.intermediates = None
        if operator.mutatingVariableInputs is not None and not any(operator.mutatingVariableInputs):
            operator.mutatingVariableInputs = None


def strip_biases(graph: Any, model: Any, *, lend_weights_scales: bool) -> None:
    """Drop the scales of biases where every kernel that reads them works them out from input and weights.

    That holds for int8 and int16 activations and weights of a scale for each channel; with one scale for all channels,
    and for uint8, kernels hold the bias's against it.

    Args:
        graph: of the model.
        model: to look up operators in.
        lend_weights_scales: point to the weights' scales instead.
    """
    for bias, weights in _weights_of_biases(graph, model).items():
        tensor, scales = graph.tensors[bias], graph.tensors[weights].quantization.scale
        if not lend_weights_scales:
            tensor.quantization = None
        elif tensor.quantization is not None and len(_array(tensor.quantization.scale)) == len(scales):
            tensor.quantization.scale = scales
            # Some converters wrote the weights' here, which LiteRT refuses in a vector.
            tensor.quantization.quantizedDimension = 0


def _weights_of_biases(graph: Any, model: Any) -> dict[int, int]:
    """For each bias whose scales nobody needs the weights that it goes with."""
    found: dict[int, int] = {}
    needed: set[int] = {int(index) for index in (*graph.inputs, *graph.outputs)}
    for operator in graph.operators or ():
        inputs = [int(index) for index in operator.inputs]
        is_biased = _code(operator, model) in _BIASED and len(inputs) > _BIAS_INPUT and inputs[_BIAS_INPUT] >= 0
        if is_biased and _works_out_scales(graph, inputs):
            found[inputs[_BIAS_INPUT]] = inputs[_WEIGHTS_INPUT]
            needed.update(inputs[:_BIAS_INPUT])
        else:
            needed.update(inputs)
    return {bias: weights for bias, weights in found.items() if bias not in needed}


def _works_out_scales(graph: Any, inputs: list[int]) -> bool:
    activations, weights = graph.tensors[inputs[0]], graph.tensors[inputs[_WEIGHTS_INPUT]]
    per_channel = weights.quantization is not None and len(_array(weights.quantization.scale)) > 1
    return per_channel and activations.type in _INT_ACTIVATIONS


def _stripped(quantization: Any) -> Any:
    if quantization is None:
        return None
    quantization.min = quantization.max = None
    if len(_array(quantization.scale)) == 1:
        quantization.quantizedDimension = 0
    if _is_empty(quantization.scale) and _is_empty(quantization.zeroPoint) and quantization.details is None:
        return None
    return quantization


def _same(one: Any, other: Any) -> bool:
    return one is not None and np.array_equal(_array(one), _array(other))


def _is_empty(vector: Any) -> bool:
    return vector is None or len(vector) == 0


def _array(vector: Any) -> Any:
    return np.zeros(0) if vector is None else np.asarray(vector)


def _code(operator: Any, model: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    # Files older than operator 127 keep the code in the byte-wide field.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
