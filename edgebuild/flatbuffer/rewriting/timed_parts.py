"""Parts of a network as .tflite files of their own, which can be timed alone: its beginning, or one layer.

The operator, its version, its options and the layout of its tensors are those that the TFLite converter writes for such
a layer. Scales are chosen so that outputs spread over most of the int8 range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.layers import LayerKind, LayerShape, Padding
from edgebuild.core.passes import DType
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import lean, tight, unused

# The one entry of metadata that changes what kernels compute: XNNPACK then uses half precision.
_OBEYED = frozenset({"reduced_precision_support"})
# How fields of options end that name several graphs.
_SEVERAL = "Indices"
# Handles to state; nothing can be read from them.
_HANDLES = frozenset({schema.TensorType.RESOURCE, schema.TensorType.VARIANT})
Array = npt.NDArray[Any]
_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
# As the schema asks for; kernels that read weights in place are slower where they are not aligned.
_ALIGNMENT_BYTES = 16
_INPUT_SCALE, _INPUT_ZERO_POINT, _OUTPUT_ZERO_POINT = 0.02, -7, 5
_WEIGHT_SCALES = 0.002, 0.008
_LARGEST_WEIGHT = 127
# The standard deviation of outputs, in steps of their scale.
_OUTPUT_SPREAD = 40
_TYPES = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32, "float32": schema.TensorType.FLOAT32}
_OPERATORS = {
    LayerKind.CONV_2D: schema.BuiltinOperator.CONV_2D,
    LayerKind.DEPTHWISE_CONV_2D: schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    LayerKind.FULLY_CONNECTED: schema.BuiltinOperator.FULLY_CONNECTED,
}
_INT8_VERSIONS = {LayerKind.CONV_2D: 3, LayerKind.DEPTHWISE_CONV_2D: 3, LayerKind.FULLY_CONNECTED: 4}


def prefix(data: bytes, operators: int) -> bytes:
    """The file whose first graph ends after its first operators.

    Its inputs are the network's. Its outputs are, in the order in which they are written, the tensors that the rest of
    the network reads or that are outputs of it; those that constants alone decide are not, since runtimes work them out
    as they load. What only the rest needs is gone: operators, tensors, buffers, other graphs. So are signatures.

    Args:
        data: the bytes of a .tflite file.
        operators: how many operators of the first graph are kept, from 1 to all of them.

    Raises:
        StepError: the file is damaged, or keeps constants outside of its flatbuffer.
        ValueError: the graph has not so many operators.
    """
    inspect(data, "the file")  # the schema's own accessors check nothing
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    if any(buffer.offset > 1 for buffer in model.buffers) or model.externalBuffers:
        raise StepError("the network cannot be cut", "its constants lie outside of the flatbuffer")
    graph = model.subgraphs[0]
    count = len(graph.operators or ())
    if not 1 <= operators <= count:
        raise ValueError(f"a prefix of {operators} operators of a graph that has {count}")
    if operators < count:
        _cut(model, graph, operators)
    lean.strip_model(model, metadata=_OBEYED, signatures=False)
    _drop_graphs(model)
    for kept in model.subgraphs:
        lean.strip_graph(kept)
    unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    unused.drop_buffers(model)
    return tight.pack(model)


def folded(data: bytes) -> tuple[int, ...]:
    """The positions of the first graph's operators that read constants alone; runtimes run them once, or never.

    Raises:
        StepError: the file is damaged.
    """
    inspect(data, "the file")
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    fixed = _fixed(model, graph)
    return tuple(number for number, operator in enumerate(graph.operators or ()) if _reads_only(operator, fixed))


def _cut(model: Any, graph: Any, operators: int) -> None:
    """End a graph after its first operators."""
    kept, rest = graph.operators[:operators], graph.operators[operators:]
    fixed = _fixed(model, graph)
    wanted = {int(index) for operator in rest for index in operator.inputs} | {int(index) for index in graph.outputs}
    written = [index for operator in kept for index in unused.present(operator.outputs) if index in wanted]
    outputs = [index for index in dict.fromkeys(written) if index not in fixed and _is_value(graph.tensors[index])]
    outputs = outputs or [int(index) for index in kept[-1].outputs]
    read = {int(index) for operator in kept for index in operator.inputs} | set(outputs)
    graph.operators = [
        operator
        for operator in kept
        if not _reads_only(operator, fixed) or read & set(unused.present(operator.outputs))
    ]
    graph.outputs = np.array(outputs, np.int32)


def _fixed(model: Any, graph: Any) -> set[int]:
    """The tensors that have the same value in each run: constants, and what is computed from them alone."""
    fixed = {index for index, tensor in enumerate(graph.tensors) if _is_constant(tensor, model)}
    for operator in graph.operators or ():
        if _reads_only(operator, fixed):
            fixed.update(unused.present(operator.outputs))
    return fixed


def _is_constant(tensor: Any, model: Any) -> bool:
    content = model.buffers[tensor.buffer].data
    return content is not None and len(content) > 0 and not tensor.isVariable


def _reads_only(operator: Any, fixed: set[int]) -> bool:
    read = unused.present(operator.inputs)
    return bool(read) and fixed.issuperset(read)


def _is_value(tensor: Any) -> bool:
    return tensor.type not in _HANDLES and not tensor.isVariable


def _drop_graphs(model: Any) -> None:
    """Drop the graphs that no operator of the first one calls, on whatever way, and number the others anew."""
    reached, pending = {0}, [0]
    while pending:
        for options, field in _calls(model.subgraphs[pending.pop()]):
            called = set(_numbers(getattr(options, field))) - reached
            reached |= called
            pending += called
    place = {old: new for new, old in enumerate(sorted(reached))}
    model.subgraphs = [model.subgraphs[old] for old in sorted(reached)]
    for graph in model.subgraphs:
        for options, field in _calls(graph):
            numbers = [place[number] for number in _numbers(getattr(options, field))]
            setattr(options, field, numbers if field.endswith(_SEVERAL) else numbers[0])


def _calls(graph: Any) -> Iterator[tuple[Any, str]]:
    """The options of operators that name other graphs, with the name of the field: "bodySubgraphIndex", "subgraph"."""
    for operator in graph.operators or ():
        for options in (operator.builtinOptions, operator.builtinOptions2):
            for field in vars(options) if options is not None else ():
                if "subgraph" in field.lower() and _numbers(getattr(options, field)):
                    yield options, field


def _numbers(called: Any) -> list[int]:
    """The graphs that a field names; -1 stands for none."""
    return [] if called is None else [int(number) for number in np.atleast_1d(called) if number >= 0]


class _Scales(NamedTuple):
    """Quantization of the four tensors; a weight scale and a bias scale for each output channel."""

    input: Array
    weights: Array
    bias: Array
    output: Array


def artifact_of_layer(shape: LayerShape, seed: int = 0) -> bytes:
    """The bytes of a .tflite file whose single operator is the layer, without an activation.

    Args:
        shape: the layer. Its int8 form has one scale for each output channel of the weights and an int32 bias.
        seed: of weights, bias and scales; equal seeds give equal bytes.
    """
    rng = np.random.default_rng(seed)
    weights, bias = _constants(shape, rng)
    scales = _scales(shape, rng) if shape.dtype == DType.INT8 else None
    graph = schema.SubGraphT()
    graph.tensors = _tensors(shape, scales)
    graph.inputs, graph.outputs = [0], [3]
    graph.operators = [_operator(shape)]
    model = schema.ModelT()
    model.version = _SCHEMA_VERSION
    model.operatorCodes = [_operator_code(shape)]
    model.subgraphs = [graph]
    # By convention the first buffer is empty and stands for no data.
    model.buffers = [schema.BufferT(), _Constant(_bytes(weights)), _Constant(_bytes(bias))]
    builder = flatbuffers.Builder(weights.nbytes + bias.nbytes + 4096)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Constant(schema.BufferT):  # type: ignore[misc]
    """A buffer that is aligned as the schema asks for, which the schema's own class overlooks."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        builder.Prep(_ALIGNMENT_BYTES, self.data.size)
        return super().Pack(builder)


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def _constants(shape: LayerShape, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random weights and bias."""
    if shape.dtype == DType.FLOAT32:
        weights = rng.random(shape.weights_shape, np.float32) - np.float32(0.5)
        return weights, rng.random(shape.out_channels, np.float32) - np.float32(0.5)
    weights = rng.integers(-_LARGEST_WEIGHT, _LARGEST_WEIGHT, shape.weights_shape, np.int8, endpoint=True)
    reach = round(_accumulator_spread(shape))
    return weights, rng.integers(-reach, reach, shape.out_channels, np.int32, endpoint=True)


def _scales(shape: LayerShape, rng: np.random.Generator) -> _Scales:
    weights = rng.uniform(*_WEIGHT_SCALES, shape.out_channels).astype(np.float32)
    products = (np.float32(_INPUT_SCALE) * weights).astype(np.float32)
    output = products.mean() * _accumulator_spread(shape) / _OUTPUT_SPREAD
    return _Scales(np.array([_INPUT_SCALE], np.float32), weights, products, np.array([output], np.float32))


def _accumulator_spread(shape: LayerShape) -> float:
    """The standard deviation of a sum of products of evenly spread int8 values, as one output needs them."""
    evenly_spread = 2 * _LARGEST_WEIGHT / math.sqrt(12)
    height, width = shape.output_size
    return evenly_spread**2 * math.sqrt(shape.macs / (height * width * shape.out_channels))


def _tensors(shape: LayerShape, scales: _Scales | None) -> list[Any]:
    """Input, weights, bias and output."""
    dtype = str(shape.dtype)
    channels = [shape.out_channels]
    flat = shape.kind == LayerKind.FULLY_CONNECTED
    taken = [shape.weights_shape[1]] if flat else [shape.height, shape.width, shape.in_channels]
    tensors = [
        _tensor("input", [1, *taken], dtype),
        _tensor("weights", list(shape.weights_shape), dtype, buffer=1),
        _tensor("bias", channels, "int32" if scales else dtype, buffer=2),
        _tensor("output", [1, *channels] if flat else [1, *shape.output_size, *channels], dtype),
    ]
    if scales:
        zero_points = (_INPUT_ZERO_POINT, 0, 0, _OUTPUT_ZERO_POINT)
        for tensor, scale, zero_point in zip(tensors, scales, zero_points, strict=True):
            tensor.quantization = _quantization(scale, zero_point)
        tensors[1].quantization.quantizedDimension = 3 if shape.kind == LayerKind.DEPTHWISE_CONV_2D else 0
    return tensors


def _tensor(name: str, shape: list[int], dtype: str, buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, _TYPES[dtype], buffer
    return tensor


def _quantization(scale: Array, zero_point: int) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = scale, np.full(scale.shape, zero_point, np.int64)
    return quantization


def _operator_code(shape: LayerShape) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = _OPERATORS[shape.kind]
    code.version = _INT8_VERSIONS[shape.kind] if shape.dtype == DType.INT8 else 1
    return code


def _operator(shape: LayerShape) -> Any:
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    if shape.kind == LayerKind.FULLY_CONNECTED:
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
        return operator
    if shape.kind == LayerKind.CONV_2D:
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        options = schema.Conv2DOptionsT()
    else:
        operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = shape.out_channels // shape.in_channels
    options.padding = schema.Padding.SAME if shape.padding == Padding.SAME else schema.Padding.VALID
    options.strideH, options.strideW = shape.strides
    operator.builtinOptions = options
    return operator
