"""What a network computes, operator by operator, as functions of how many channels its groups keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.layers import LayerKind, LayerShape, Padding
from edgebuild.core.passes import DType
from edgebuild.errors import StepError
from edgebuild.passes.graph import running
from edgebuild.passes.graph.ir import Call, Graph, Layer, Shape
from edgebuild.passes.surgery.channels import FIXED, Channels, Vector


class Size(NamedTuple):
    """A number of channels: `fixed` and, for each (group, width), `width` for every class that the group keeps."""

    fixed: int
    terms: tuple[tuple[int, int], ...] = ()

    def at(self, counts: Sequence[int]) -> int:
        """The number, where `counts` has the kept classes of each group."""
        return self.fixed + sum(counts[group] * width for group, width in self.terms)

    def plus(self, other: Size) -> Size:
        """The sum of both."""
        return Size(self.fixed + other.fixed, self.terms + other.terms)

    def times(self, factor: int) -> Size:
        """Each channel `factor` times."""
        return Size(self.fixed * factor, tuple((group, width * factor) for group, width in self.terms))

    def over(self, factor: int) -> Size:
        """One for each `factor`, which divides all."""
        return Size(self.fixed // factor, tuple((group, width // factor) for group, width in self.terms))

    @property
    def common(self) -> int:
        """The greatest number that divides all parts; 1 where there are no terms."""
        return math.gcd(self.fixed, *(width for _, width in self.terms)) if self.terms else 1


class Operator(NamedTuple):
    """A multiplication with weights at one call of a layer.

    Attributes:
        layer: its name.
        call: the number of the call in the graph.
        positions: where the same weights are applied, for one sample.
        window: the area of the kernel.
        fan_in: how many weights each output has for one place of the window.
        inputs: the channels that go in, as `shape` counts them.
        outputs: those that come out.
        biased: whether something is added to each output; a batch norm behind is taken to be folded into that.
        shape: what a kernel of TensorFlow Lite sees before pruning; None where it cannot be timed by itself.
        again: whether the weights are those of an earlier call.
    """

    layer: str
    call: int
    positions: int
    window: int
    fan_in: Size
    inputs: Size
    outputs: Size
    biased: bool = True
    shape: LayerShape | None = None
    again: bool = False

    @property
    def groups(self) -> frozenset[int]:
        """The numbers of the groups that its size depends on."""
        return frozenset(group for size in (self.fan_in, self.inputs, self.outputs) for group, _ in size.terms)

    def weights(self, counts: Sequence[int]) -> int:
        """The number of weights, without biases."""
        return self.window * self.fan_in.at(counts) * self.outputs.at(counts)


def operators(graph: Graph, channels: Channels, dtype: DType = DType.INT8) -> tuple[Operator, ...]:
    """All operators with weights, in order. Elementwise work, pooling and normalization are none.

    Args:
        graph: the network.
        channels: its trace.
        dtype: of the activations, as it will be converted.

    Raises:
        StepError: a size is open that a cost depends on.
    """
    sizes = _Sizes(channels)
    bound = {(item.layer, item.weight, item.axis): item.vector for item in channels.weights}
    found: list[Operator] = []
    seen: set[str] = set()
    rows = running.rows(graph)
    for number, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        context = _Context(graph, number, call, layer, channels, sizes, bound, dtype)
        known = layer.kind.__module__.startswith("tf_keras.")
        of_call = _BY_KIND.get(context.kind, _other)(context) if known else _other(context)
        of_call = [_of_rows(item, rows[call.inputs[0]]) for item in of_call] if call.inputs else of_call
        found += [item._replace(again=call.layer in seen) for item in of_call]
        seen.add(call.layer)
    return tuple(found)


def _of_rows(item: Operator, rows: int) -> Operator:
    """An operator where a sample is several rows of a batch; none is timed so."""
    return item if rows == 1 else item._replace(positions=item.positions * rows, shape=None)


class _Sizes:
    """Vectors turned into sizes."""

    def __init__(self, channels: Channels) -> None:
        self._groups: npt.NDArray[np.int64] = np.full(channels.classes + 1, FIXED)
        self._members = [len(group.classes) for group in channels.groups]
        for number, group in enumerate(channels.groups):
            self._groups[list(group.classes)] = number

    def of(self, vector: Vector | None, size: int) -> Size:
        if vector is None:
            return Size(size)
        groups, positions = np.unique(self._groups[vector], return_counts=True)
        found = dict(zip(groups.tolist(), positions.tolist(), strict=True))
        terms = tuple((group, count // self._members[group]) for group, count in found.items() if group != FIXED)
        return Size(found.get(FIXED, 0), terms)


class _Context(NamedTuple):
    """A call, and where to look up what it is made of."""

    graph: Graph
    number: int
    call: Call
    layer: Layer
    channels: Channels
    sizes: _Sizes
    bound: Mapping[tuple[str, str, int], Vector]
    dtype: DType

    @property
    def given(self) -> Shape:
        return self.graph.tensors[self.call.inputs[0]].shape

    @property
    def kind(self) -> str:
        wrapped = self.layer.kind.__name__ == "TimeDistributed"
        return str(self.layer.config["layer"]["class_name"] if wrapped else self.layer.kind.__name__)

    @property
    def config(self) -> Mapping[str, Any]:
        wrapped = self.layer.kind.__name__ == "TimeDistributed"
        return self.layer.config["layer"]["config"] if wrapped else self.layer.config

    def operator(self, positions: int, window: int, fan_in: Size, inputs: Size, outputs: Size) -> Operator:
        """An operator of this call."""
        return Operator(self.layer.name, self.number, positions, window, fan_in, inputs, outputs)

    def size(self, weight: str, axis: int) -> Size:
        """The size of an axis of a weight."""
        array = self.layer.weights[weight]
        axis %= array.ndim
        return self.sizes.of(self.bound.get((self.layer.name, weight, axis)), array.shape[axis])

    def window(self, weight: str) -> int:
        """The area of a kernel, whose last two axes are channels."""
        return math.prod(self.layer.weights[weight].shape[:-2])

    def channels_given(self) -> Size:
        """The channels of the first input."""
        axis = 1 if self.config.get("data_format") == "channels_first" else len(self.given) - 1
        tensor = self.call.inputs[0]
        return self.sizes.of(self.channels.axes[tensor][axis], self.given[axis] or 0)

    def positions(self, tensor: int) -> int:
        """The number of places of a tensor that has channels."""
        shape = self.graph.tensors[tensor].shape
        places = shape[2:] if self.config.get("data_format") == "channels_first" else shape[1:-1]
        known = [size for size in places if size is not None]
        if len(known) < len(places):
            raise StepError(
                f"what {self.layer.name} costs is not known",
                f"The size of its input is open: {list(self.given)}.",
                "Give the network an Input of a fixed shape.",
            )
        return math.prod(known)


def _convolution(context: _Context) -> list[Operator]:
    config, (output, *_) = context.config, context.call.outputs
    inputs, fan_in, outputs = context.channels_given(), context.size("kernel", -2), context.size("kernel", -1)
    operator = context.operator(context.positions(output), context.window("kernel"), fan_in, inputs, outputs)
    in_groups = config.get("groups", 1) > 1
    if in_groups and fan_in != Size(1):
        return [operator]
    return [operator._replace(shape=_timed(context, inputs, outputs, depthwise=in_groups))]


def _transposed(context: _Context) -> list[Operator]:
    inputs, outputs = context.size("kernel", -1), context.size("kernel", -2)
    places = context.positions(context.call.inputs[0])
    return [context.operator(places, context.window("kernel"), inputs, inputs, outputs)]


def _depthwise(context: _Context) -> list[Operator]:
    kernel = "depthwise_kernel"
    inputs, places = context.size(kernel, -2), context.positions(context.call.outputs[0])
    outputs = inputs.times(int(context.config["depth_multiplier"]))
    shape = _timed(context, inputs, outputs, depthwise=True)
    return [context.operator(places, context.window(kernel), Size(1), inputs, outputs)._replace(shape=shape)]


def _separable(context: _Context) -> list[Operator]:
    (first,) = _depthwise(context)
    inputs, outputs = context.size("pointwise_kernel", -2), context.size("pointwise_kernel", -1)
    full = [len(group.classes) for group in context.channels.groups]
    shape = _of_positions(first.positions, inputs.at(full), outputs.at(full), context.dtype)
    second = context.operator(first.positions, 1, inputs, inputs, outputs)._replace(shape=shape)
    return [first._replace(biased=False), second]


def _dense(context: _Context) -> list[Operator]:
    features, outputs = context.size("kernel", 0), context.size("kernel", 1)
    places = context.positions(context.call.inputs[0])
    full = [len(group.classes) for group in context.channels.groups]
    if places > 1:
        shape = _of_positions(places, features.at(full), outputs.at(full), context.dtype)
        return [context.operator(places, 1, features, features, outputs)._replace(shape=shape)]
    inputs = features.over(features.common)
    shape = _of_dense(features.common, inputs.at(full), outputs.at(full), context.dtype)
    return [context.operator(1, 1, features, inputs, outputs)._replace(shape=shape)]


def _recurrent(context: _Context) -> list[Operator]:
    if "recurrent_kernel" not in context.layer.weights:  # a wrapper around cells of another kind
        return _other(context)
    found = []
    for suffix in ("", "_1") if "kernel_1" in context.layer.weights else ("",):
        inputs, outputs = context.size(f"kernel{suffix}", 0), context.size(f"kernel{suffix}", 1)
        fan_in = inputs.plus(context.size(f"recurrent_kernel{suffix}", 0))
        steps = context.positions(context.call.inputs[0])
        found.append(context.operator(steps, 1, fan_in, inputs, outputs))
    return found


def _embedding(context: _Context) -> list[Operator]:
    words, outputs = context.size("embeddings", 0), context.size("embeddings", 1)
    return [context.operator(0, 1, words, words, outputs)._replace(biased=False)]


def _other(context: _Context) -> list[Operator]:
    """What is not known is not pruned: only its weights are counted, without those that can be folded."""
    weights = sum(int(array.size) for array in context.layer.weights.values() if array.ndim > 1)
    return [context.operator(0, 1, Size(weights), Size(0), Size(1))._replace(biased=False)] if weights else []


def _timed(context: _Context, inputs: Size, outputs: Size, *, depthwise: bool) -> LayerShape | None:
    full = [len(group.classes) for group in context.channels.groups]
    counts = inputs.at(full), outputs.at(full)
    return _of_convolution(context.config, context.given, counts, depthwise=depthwise, dtype=context.dtype)


_BY_KIND: dict[str, Callable[[_Context], list[Operator]]] = {
    **{f"Conv{rank}D": _convolution for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": _transposed for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": _depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": _separable for rank in (1, 2)},
    "Dense": _dense,
    **dict.fromkeys(["LSTM", "GRU", "SimpleRNN", "Bidirectional"], _recurrent),
    "Embedding": _embedding,
}


def _of_convolution(
    config: Mapping[str, Any], given: Shape, channels: tuple[int, int], *, depthwise: bool, dtype: DType
) -> LayerShape | None:
    """A 1-D or 2-D convolution; None for one with gaps in its window, in another layout or of another rank.

    Args:
        config: that of the layer.
        given: the shape of its input.
        channels: how many go in and come out.
        depthwise: whether each output is made of one input.
        dtype: of the activations.
    """
    windows = {"valid": Padding.VALID, "same": Padding.SAME}
    dense = all(rate == 1 for rate in config.get("dilation_rate", ()))
    plain = config.get("data_format", "channels_last") == "channels_last" and config["padding"] in windows and dense
    size = [length for length in given[1:-1] if length]
    if not plain or len(size) not in (1, 2) or len(given) != len(size) + 2:
        return None
    height, width = [1, *size][-2:]
    return LayerShape(
        kind=LayerKind.DEPTHWISE_CONV_2D if depthwise else LayerKind.CONV_2D,
        height=height,
        width=width,
        in_channels=channels[0],
        out_channels=channels[1],
        kernel=_pair(config["kernel_size"]),
        strides=_pair(config["strides"]),
        padding=windows[config["padding"]],
        dtype=dtype,
    )


def _of_dense(width: int, inputs: int, outputs: int, dtype: DType) -> LayerShape:
    """A dense layer; `width` is how many of its features belong to each input channel, where an image was flattened."""
    return LayerShape(
        kind=LayerKind.FULLY_CONNECTED, width=width, in_channels=inputs, out_channels=outputs, dtype=dtype
    )


def _of_positions(positions: int, inputs: int, outputs: int, dtype: DType) -> LayerShape:
    """A layer that does the same at each of several positions: a convolution with a window of 1."""
    return LayerShape(kind=LayerKind.CONV_2D, width=positions, in_channels=inputs, out_channels=outputs, dtype=dtype)


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    first, second = [1, *numbers][-2:]
    return int(first), int(second)
