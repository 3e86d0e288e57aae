"""Layers as the kernels of TensorFlow Lite see them, where these can be timed one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebuild.core.layers import LayerKind, LayerShape, Padding
from edgebuild.core.passes import DType
from edgebuild.passes.graph.ir import Shape


def of_convolution(
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


def of_dense(width: int, inputs: int, outputs: int, dtype: DType) -> LayerShape:
    """A dense layer; `width` is how many of its features belong to each input channel, where an image was flattened."""
    return LayerShape(
        kind=LayerKind.FULLY_CONNECTED, width=width, in_channels=inputs, out_channels=outputs, dtype=dtype
    )


def of_positions(positions: int, inputs: int, outputs: int, dtype: DType) -> LayerShape:
    """A layer that does the same at each of several positions: a convolution with a window of 1."""
    return LayerShape(kind=LayerKind.CONV_2D, width=positions, in_channels=inputs, out_channels=outputs, dtype=dtype)


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    first, second = [1, *numbers][-2:]
    return int(first), int(second)
