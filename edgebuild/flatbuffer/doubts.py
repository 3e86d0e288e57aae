"""What does not fit together in a .tflite file that can be read: each is a reason for a runtime to refuse it.

The rules are those by which LiteRT 2.3 refuses files as it loads them or prepares their kernels, and those of a graph
that computes what it says: what is read has been written, once.
"""

from __future__ import annotations

import io
import itertools
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from edgebuild.core.inspection import Graph, Inspection, Operation, Quantization, Tensor
from edgebuild.core.model import UNKNOWN_RUNTIME
from edgebuild.flatbuffer.sections import APPENDED

# How many are told; a file with more is no better known by all of them.
_MOST = 20
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (0, 0), "int32": (0, 0)}
# A file within an archive begins so; a little of what comes before may count as padding.
_ARCHIVE, _BEFORE_ARCHIVE = b"PK\x03\x04", 16
_UNREADABLE = "\ufffd"
# Options that are not called as their operators are, without underscores.
_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY"), "ReducerOptions"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions"),
    "L2_NORMALIZATION": "L2NormOptions",
}
_ENUMS = frozenset({"padding", "fused_activation_function", "weights_format", "kernel_type", "mode", "in_data_type"})
_STEPS = frozenset(
    f"{name}_{axis}{suffix}" for name, suffix in (("stride", ""), ("dilation", "_factor")) for axis in "dhw"
) | {"filter_width", "filter_height"}
# fmt: off
# Options that are called so.
_CHECKED = frozenset({
    "ADD", "BATCH_MATMUL", "CAST", "CONCATENATION", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "DIV",
    "FULLY_CONNECTED", "GATHER", "LEAKY_RELU", "MUL", "PACK", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "SOFTMAX", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "SUB", "SVDF", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNPACK",
})
# fmt: on
_BIASED = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2}
# Strides and the like are 16 bits wide in kernels.
_MOST_STEPS = 32767
# LiteRT's kernels refuse a bias that is off by more, in steps of the output.
_MOST_BIAS_STEPS = 0.02
_Shape = tuple[int, ...]
_OPEN = -1
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_SLIDING = frozenset({*_CONVOLUTIONS, "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"})
_Rule = Callable[[Sequence[_Shape], _Shape], bool]


def doubted(inspection: Inspection, data: bytes) -> Inspection:
    """The same, with its doubts, at most 20 of them; `data` is the file."""
    found = list(dict.fromkeys(itertools.islice(_all(inspection, data), 4 * _MOST)))
    if len(found) > _MOST:
        found[_MOST:] = ["and more"]
    return msgspec.structs.replace(inspection, doubts=tuple(found))


def _all(inspection: Inspection, data: bytes) -> Iterator[str]:
    # Anything may follow that is no part of the network; an archive begins as one, and is whole.
    behind = data[len(data) - inspection.sections.get(APPENDED, 0) - _BEFORE_ARCHIVE :] if data else b""
    if APPENDED in inspection.sections and _ARCHIVE in behind and not zipfile.is_zipfile(io.BytesIO(data)):
        yield f"{inspection.sections[APPENDED]:,} bytes are appended that are no archive, or the end of one is missing"
    for number, graph in enumerate(inspection.graphs):
        place = f"graph {number}: " if len(inspection.graphs) > 1 else ""
        for doubt in _of_graph(graph):
            yield place + doubt
    if any(_UNREADABLE in name for signature in inspection.ends for name in (*signature.inputs, *signature.outputs)):
        yield "a signature has a name that is not UTF-8"


def _of_graph(graph: Graph) -> Iterator[str]:
    for tensor in graph.tensors:
        yield from (f"tensor {tensor.index} {doubt}" for doubt in _of_tensor(tensor))
    yield from _of_flow(graph)
    for number, operation in enumerate(graph.operations):
        for doubt in (
            *_of_operation(operation),
            *_of_bias(operation, graph),
            *_misfits(operation, graph),
        ):
            yield f"{operation.name} (operator {number}) {doubt}"


def _of_tensor(tensor: Tensor) -> Iterator[str]:
    if tensor.dtype.startswith("type "):
        yield f"is of {tensor.dtype}, which is not known"
    if _UNREADABLE in tensor.name:
        yield "has a name that is not UTF-8"
    if any(size < -1 for size in tensor.shape):
        yield f"has the shape {list(tensor.shape)}"
    stored, needed = tensor.constant_bytes, tensor.size_bytes
    # More than a tensor needs is not read.
    if stored and needed > stored and not tensor.is_sparse and tensor.dtype != "string":
        yield f"needs {needed:,} bytes of constants and has {stored:,}"
    if tensor.quantization is not None:
        yield from _of_quantization(tensor, tensor.quantization)


def _of_quantization(tensor: Tensor, quantization: Quantization) -> Iterator[str]:
    scales, zero_points, axis = quantization.scales, quantization.zero_points, quantization.dimension
    if len(scales) != len(zero_points):
        yield f"has {len(scales)} scales and {len(zero_points)} zero points"
    if not all(math.isfinite(scale) and scale >= 0 for scale in scales):
        yield "has a scale that is no positive number"
    low, high = _LIMITS.get(tensor.dtype, (-math.inf, math.inf))
    if not all(low <= zero_point <= high for zero_point in zero_points):
        yield f"has a zero point that {tensor.dtype} does not hold"
    if not 0 <= axis < max(1, len(tensor.shape)):
        yield f"is quantized along axis {axis} of {len(tensor.shape)}"
    elif len(scales) > 1:
        if tensor.shape[axis : axis + 1] != (len(scales),):
            yield f"has {len(scales)} scales along axis {axis} of {list(tensor.shape)}"
        if tensor.dtype == "int8" and any(zero_points):
            yield "has zero points by channel, which kernels take to be 0"


def _of_flow(graph: Graph) -> Iterator[str]:
    """Every tensor is written once, and before it is read."""
    given = {tensor.index for tensor in graph.tensors if tensor.constant_bytes or tensor.is_variable}
    written = given | set(graph.inputs)
    for number, operation in enumerate(graph.operations):
        unwritten = {index for index in operation.inputs if index not in written} - {-1}
        # What compilers for NPUs make scribbles in inputs; an empty constant has no bytes to tell it by.
        if not operation.name.startswith("CUSTOM"):
            for index in sorted(index for index in unwritten if graph.tensors[index].size_bytes):
                yield f"{operation.name} (operator {number}) reads tensor {index} before anything has written it"
        for index in operation.outputs:
            if index in written:
                yield f"{operation.name} (operator {number}) writes tensor {index}, which holds something already"
            written.add(index)
    for index in graph.outputs:
        if index not in written:
            yield f"nothing writes the output, tensor {index}"


def _of_operation(operation: Operation) -> Iterator[str]:
    if operation.name.startswith(("UNKNOWN", "PLACEHOLDER")):
        yield "is no operator that is known"
    if operation.runtime == UNKNOWN_RUNTIME or operation.version < 1:
        yield f"is of version {operation.version}, which no runtime is known to have"
    expected = _OPTIONS.get(operation.name, f"{operation.name.replace('_', '')}Options")
    is_other = operation.options_table and operation.options_table.lower() != expected.lower()
    if is_other and operation.name in _CHECKED | _OPTIONS.keys():
        yield f"has the options of another operator, {operation.options_table}"
    yield from (
        f"has the {field} {value}"
        for field, value in operation.options.items()
        if field in _ENUMS and not isinstance(value, str)
    )
    for field, value in operation.options.items():
        if field in _STEPS and isinstance(value, int) and not 1 <= value <= _MOST_STEPS:
            yield f"has the {field} {value}"


def _of_bias(operation: Operation, graph: Graph) -> Iterator[str]:
    """A bias is added to products: its scale is theirs. Kernels check it where weights have one scale."""
    place = _BIASED.get(operation.name)
    if place is None or len(operation.inputs) <= place or operation.inputs[place] < 0 or not operation.outputs:
        return
    scales = [_only_scale(graph.tensors[index]) for index in (*operation.inputs[:3], operation.outputs[0])]
    if not all(scales) or not all(map(math.isfinite, scales)):
        return
    data, weights, bias, output = scales
    if abs(data * weights - bias) / output > _MOST_BIAS_STEPS:
        yield "has a bias in another scale than that of its products"


def _only_scale(tensor: Tensor) -> float:
    """0 for a tensor that has none, or many."""
    quantization = tensor.quantization
    return quantization.scales[0] if quantization is not None and len(quantization.scales) == 1 else 0.0


def _misfits(operation: Operation, graph: Graph) -> Iterator[str]:
    """What does not fit, in words; nothing of operators without a rule here, and of shapes that are open."""
    if operation.name not in _RULES:
        return
    inputs = [graph.tensors[index].shape if index >= 0 else None for index in operation.inputs]
    outputs = [graph.tensors[index].shape for index in operation.outputs if index >= 0]
    fewest, fits = _RULES[operation.name]
    if len(inputs) < fewest or None in inputs[:fewest] or not outputs:
        yield f"has {len(inputs)} inputs and {len(outputs)} outputs"
    elif _are_known((*inputs[:fewest], outputs[0])) and not fits([shape or () for shape in inputs], outputs[0]):
        shapes = " and ".join(str(list(shape)) for shape in inputs[:fewest] if shape is not None)
        yield f"makes {list(outputs[0])} of {shapes}"
    elif operation.name in _SLIDING and operation.outputs[0] >= 0:
        yield from _slid(operation, graph)


def _slid(operation: Operation, graph: Graph) -> Iterator[str]:
    """Whether a window that slides over an image leaves as many places as the output has (TFLite's padding.h)."""
    image, output = (graph.tensors[index].shape for index in (operation.inputs[0], operation.outputs[0]))
    window = _window(operation, graph)
    if not len(image) == len(output) == len(window) + 2 == 4 or not _are_known((image, output)):
        return
    options = operation.options
    for axis, (size, short) in enumerate(zip(window, "hw", strict=True), start=1):
        stride, dilation = options.get(f"stride_{short}"), options.get(f"dilation_{short}_factor", 1)
        if not isinstance(stride, int) or not isinstance(dilation, int) or stride < 1:
            return
        reach = 1 if options.get("padding") == "SAME" else (size - 1) * dilation + 1
        if -(-(image[axis] - reach + 1) // stride) != output[axis]:
            yield f"makes {list(output)} of {list(image)} with a window of {list(window)}"


def _window(operation: Operation, graph: Graph) -> _Shape:
    """Height and width of what slides; () where nothing does."""
    if operation.name in _CONVOLUTIONS and len(operation.inputs) > 1 and operation.inputs[1] >= 0:
        return graph.tensors[operation.inputs[1]].shape[1:3]
    sizes = [operation.options.get(name) for name in ("filter_height", "filter_width")]
    return tuple(size for size in sizes if isinstance(size, int))


def _are_known(shapes: Sequence[_Shape | None]) -> bool:
    """A tensor without a shape, and a dimension that is open, are known only as the graph runs."""
    return all(shape and _OPEN not in shape for shape in shapes)


def _convolution(inputs: Sequence[_Shape], output: _Shape) -> bool:
    data, kernel = inputs[:2]
    if len(data) != len(kernel) or len(output) != len(data):
        return False
    return bool(kernel[-1] and data[-1] % kernel[-1] == 0 and kernel[0] == output[-1] and _has_bias(inputs, output[-1]))


def _depthwise(inputs: Sequence[_Shape], output: _Shape) -> bool:
    data, kernel = inputs[:2]
    if not len(data) == len(kernel) == len(output) == 4:
        return False
    return bool(data[-1] and kernel[-1] % data[-1] == 0 and kernel[-1] == output[-1] and _has_bias(inputs, output[-1]))


def _dense(inputs: Sequence[_Shape], output: _Shape) -> bool:
    data, weights = inputs[:2]
    if len(weights) != 2 or not weights[1] or math.prod(data) % weights[1]:
        return False
    return math.prod(data) // weights[1] * weights[0] == math.prod(output) and _has_bias(inputs, weights[0])


def _has_bias(inputs: Sequence[_Shape], channels: int) -> bool:
    return len(inputs) < 3 or not inputs[2] or math.prod(inputs[2]) == channels


def _pooled(inputs: Sequence[_Shape], output: _Shape) -> bool:
    data = inputs[0]
    return len(data) == len(output) == 4 and (data[0], data[3]) == (output[0], output[3])


def _same(inputs: Sequence[_Shape], output: _Shape) -> bool:
    return inputs[0] == output


def _as_many(inputs: Sequence[_Shape], output: _Shape) -> bool:
    return math.prod(inputs[0]) == math.prod(output)


def _broadcast(inputs: Sequence[_Shape], output: _Shape) -> bool:
    pairs = list(itertools.zip_longest(*(reversed(shape) for shape in inputs[:2]), fillvalue=1))
    made = tuple(other if one == 1 else one for one, other in reversed(pairs))
    return all(one == other or 1 in (one, other) for one, other in pairs) and made == output


_RULES: Mapping[str, tuple[int, _Rule]] = {
    "CONV_2D": (2, _convolution),
    "DEPTHWISE_CONV_2D": (2, _depthwise),
    "FULLY_CONNECTED": (2, _dense),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), (1, _pooled)),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"), (1, _as_many)),
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), (2, _broadcast)),
    **dict.fromkeys(
        ("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH", "ELU", "GELU"), (1, _same)
    ),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX", "QUANTIZE", "DEQUANTIZE", "CAST", "ABS", "NEG", "EXP"), (1, _same)),
    **dict.fromkeys(("RSQRT", "SQRT", "SQUARE", "L2_NORMALIZATION", "DENSIFY"), (1, _same)),
}
