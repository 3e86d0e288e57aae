"""A .tflite file of one layer with random weights, so that its kernel can be timed without a conversion.

The operator, its version, its options and the layout of its tensors are those that the TFLite converter writes for such
a layer. Scales are chosen so that outputs spread over most of the int8 range.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.layers import LayerKind, LayerShape, Padding
from edgebuild.core.passes import DType

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


class _Scales(NamedTuple):
    """Quantization of the four tensors; a weight scale and a bias scale for each output channel."""

    input: Array
    weights: Array
    bias: Array
    output: Array


def artifact(shape: LayerShape, seed: int = 0) -> bytes:
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
