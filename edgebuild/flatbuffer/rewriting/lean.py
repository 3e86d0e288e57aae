"""Lean files: a .tflite file without what its runtime never reads, in as few bytes as the format allows.

No weight, scale or operator changes that a kernel reads. What goes: ranges of calibration, the scales of biases where
kernels work them out themselves, names, signatures and metadata that nobody asks for, and tensors, buffers and operator
codes that nothing uses. What stays is shared wherever it is equal, and laid out tightly.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.delivery import ENTRY as SDK_METADATA, BiasScales, Keep, Names
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import tight, unused

# By these numbers of tensors TFLM places them.
OFFLINE_PLAN = "OfflineMemoryAllocation"
# Compilers write their programs into these, for runtimes that are not here to tell what else they read.
_COMPILED = frozenset({b"edgetpu-custom-op", b"ethos-u"})
_BUILTIN = schema.BuiltinOperator
_BIASED = frozenset({_BUILTIN.CONV_2D, _BUILTIN.DEPTHWISE_CONV_2D, _BUILTIN.FULLY_CONNECTED})
_WEIGHTS_INPUT, _BIAS_INPUT = 1, 2
_INT_ACTIVATIONS = frozenset({schema.TensorType.INT8, schema.TensorType.INT16})
# The schema's default: no such entry.
_NO_DEBUG_METADATA = -1


def lean(data: bytes, keep: Keep) -> bytes:
    """A file that computes the same and is smaller, or the given one where nothing is to be gained.

    It is also the given one where it cannot be told what its runtime reads: compiled for an Edge TPU or Ethos-U, or
    with constants outside of the flatbuffer. The numbers of tensors may change, and so may those of operator codes.

    Raises:
        StepError: the file is damaged.
    """
    inspect(data, "the file")  # the schema's own accessors check nothing
    made = _made(data, keep)
    return made if len(made) < len(data) else data


def _made(data: bytes, keep: Keep) -> bytes:
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    if not _is_understood(model):
        return data
    metadata = frozenset((*keep.metadata, OFFLINE_PLAN))
    strip_model(model, metadata=metadata, signatures=keep.signatures)
    for graph in model.subgraphs:
        if keep.bias_scales != BiasScales.KEPT:
            _strip_biases(graph, model, lend_weights_scales=keep.bias_scales == BiasScales.WEIGHTS)
        if keep.names != Names.ALL:
            _strip_names(graph, but_ends=keep.names == Names.ENDS)
        strip_graph(graph)
    if not any(_text(entry.name) == OFFLINE_PLAN for entry in model.metadata or ()):
        unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    unused.drop_buffers(model)
    packed = tight.pack(model)
    return _carried(data, packed) if SDK_METADATA in metadata else packed


def _is_understood(model: Any) -> bool:
    """Whether all that the file holds is in what was read of it."""
    outside = any(buffer.offset > 1 for buffer in model.buffers) or bool(model.externalBuffers)
    large = any(operator.largeCustomOptionsOffset for graph in model.subgraphs for operator in graph.operators or ())
    compiled = any(code.customCode in _COMPILED for code in model.operatorCodes or ())
    return not (outside or large or compiled)


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""


def _carried(source: bytes, target: bytes) -> bytes:
    """The target with the files that are attached to the source, as they are there."""
    if not zipfile.is_zipfile(io.BytesIO(source)):
        return target
    out = io.BytesIO(target)
    with zipfile.ZipFile(io.BytesIO(source)) as given, zipfile.ZipFile(out, "a") as taken:
        for entry in given.infolist():
            # A description of its own: writing one enters its new place into it.
            described = zipfile.ZipInfo(entry.filename, entry.date_time)
            described.compress_type, described.external_attr = entry.compress_type, entry.external_attr
            taken.writestr(described, given.read(entry))
    return out.getvalue()


def strip_model(model: Any, *, metadata: Collection[str], signatures: bool) -> None:
    """Drop the description, the metadata entries that are not named, and signatures unless they are wanted."""
    model.description = None
    model.metadataBuffer = None
    model.metadata = [
        e for e in model.metadata or () if e.name and e.name.decode("utf-8", "replace") in metadata
    ] or None
    if not (signatures and model.signatureDefs):
        model.signatureDefs = None


def _strip_names(graph: Any, *, but_ends: bool) -> None:
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


def _strip_biases(graph: Any, model: Any, *, lend_weights_scales: bool) -> None:
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
