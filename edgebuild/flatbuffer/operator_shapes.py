"""Whether the shapes around an operator are such that it can compute one from the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from edgebuild.core.inspection import Graph, Operation

Shape = tuple[int, ...]
_OPEN = -1
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_SLIDING = frozenset({*_CONVOLUTIONS, "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"})


def misfits(operation: Operation, graph: Graph) -> Iterator[str]:
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


def _window(operation: Operation, graph: Graph) -> Shape:
    """Height and width of what slides; () where nothing does."""
    if operation.name in _CONVOLUTIONS and len(operation.inputs) > 1 and operation.inputs[1] >= 0:
        return graph.tensors[operation.inputs[1]].shape[1:3]
    sizes = [operation.options.get(name) for name in ("filter_height", "filter_width")]
    return tuple(size for size in sizes if isinstance(size, int))


def _are_known(shapes: Sequence[Shape | None]) -> bool:
    """A tensor without a shape, and a dimension that is open, are known only as the graph runs."""
    return all(shape and _OPEN not in shape for shape in shapes)


def _convolution(inputs: Sequence[Shape], output: Shape) -> bool:
    data, kernel = inputs[:2]
    if len(data) != len(kernel) or len(output) != len(data):
        return False
    return bool(kernel[-1] and data[-1] % kernel[-1] == 0 and kernel[0] == output[-1] and _has_bias(inputs, output[-1]))


def _depthwise(inputs: Sequence[Shape], output: Shape) -> bool:
    data, kernel = inputs[:2]
    if not len(data) == len(kernel) == len(output) == 4:
        return False
    return bool(data[-1] and kernel[-1] % data[-1] == 0 and kernel[-1] == output[-1] and _has_bias(inputs, output[-1]))


def _dense(inputs: Sequence[Shape], output: Shape) -> bool:
    data, weights = inputs[:2]
    if len(weights) != 2 or not weights[1] or math.prod(data) % weights[1]:
        return False
    return math.prod(data) // weights[1] * weights[0] == math.prod(output) and _has_bias(inputs, weights[0])


def _has_bias(inputs: Sequence[Shape], channels: int) -> bool:
    return len(inputs) < 3 or not inputs[2] or math.prod(inputs[2]) == channels


def _pooled(inputs: Sequence[Shape], output: Shape) -> bool:
    data = inputs[0]
    return len(data) == len(output) == 4 and (data[0], data[3]) == (output[0], output[3])


def _same(inputs: Sequence[Shape], output: Shape) -> bool:
    return inputs[0] == output


def _as_many(inputs: Sequence[Shape], output: Shape) -> bool:
    return math.prod(inputs[0]) == math.prod(output)


def _broadcast(inputs: Sequence[Shape], output: Shape) -> bool:
    pairs = list(itertools.zip_longest(*(reversed(shape) for shape in inputs[:2]), fillvalue=1))
    made = tuple(other if one == 1 else one for one, other in reversed(pairs))
    return all(one == other or 1 in (one, other) for one, other in pairs) and made == output


Rule = Callable[[Sequence[Shape], Shape], bool]
_RULES: Mapping[str, tuple[int, Rule]] = {
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
