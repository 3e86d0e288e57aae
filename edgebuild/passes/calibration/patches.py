"""What the kernels of linear layers are multiplied with: rows of inputs, sampled, and kernels as matrices of their own.

Unfolding a convolution into a product of matrices ("im2col") is from Chellapilla et al. 2006, "High performance
convolutional neural networks for document processing", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.graph.ir import Layer, Weights

Array = npt.NDArray[Any]

_PLAIN = frozenset({"Conv1D", "Conv2D", "Dense"})
_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
_TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose"})
_MAX_ROWS = 8192
_MIN_ROWS = 256
# So many for each input to an output tell a Gram matrix well enough; few inputs get _FEW_ROWS.
_ROWS_PER_INPUT, _FEW_ROWS = 16, 4096
_MAX_VALUES = 2**24  # 64 MB of float32 for each of the two networks


class Rows(NamedTuple):
    """Rows that a kernel of [groups, K, channels] is multiplied with, the same places in two networks.

    Attributes:
        exact: of the float network, float32 [groups, n, K].
        given: of the quantized network, likewise.
        samples: the number of the sample that each row comes from, [n], ascending.
    """

    exact: Array
    given: Array
    samples: Array


class _Axis(NamedTuple):
    """For each place of the output along an axis and each tap of the kernel the place of the input; it may be padding.

    Both are [outputs, taps]; where `inside` is False the tap meets a zero, and `places` is 0.
    """

    places: Array
    inside: Array


def takes(layer: Layer) -> bool:
    """Whether a layer has one kernel that its inputs are multiplied with, channels last."""
    known = layer.kind.__name__ in _PLAIN | _DEPTHWISE | _TRANSPOSED
    return known and layer.config.get("data_format") != "channels_first"


def kernel(layer: Layer) -> Array:
    """The kernel as [groups, K, channels]; groups times channels are the output channels in their order."""
    array = layer.weights[_name(layer)]
    if _is_depthwise(layer):  # [..., channels in, multiplier]
        return np.moveaxis(array.reshape(-1, *array.shape[-2:]), 1, 0)
    if _is_transposed(layer):  # [..., channels out, channels in]
        return np.moveaxis(array, -2, -1).reshape(1, -1, array.shape[-2])
    groups = _groups(layer)
    return np.moveaxis(array.reshape(-1, groups, array.shape[-1] // groups), 1, 0)


def with_kernel(layer: Layer, matrix: Array) -> Layer:
    """The layer with another kernel, given as `kernel` gives it."""
    name = _name(layer)
    old = layer.weights[name]
    if _is_transposed(layer):
        new = np.moveaxis(matrix.reshape(*old.shape[:-2], old.shape[-1], old.shape[-2]), -1, -2)
    else:
        new = np.moveaxis(matrix, 0, 1).reshape(old.shape)
    weights: Weights = {**layer.weights, name: np.ascontiguousarray(new, old.dtype)}
    return layer._replace(weights=weights)


def sampled(layer: Layer, exact: Array, given: Array, *, seed: int) -> Rows:
    """Rows that the layer's kernel meets: `rows.exact @ kernel(layer)` is what it makes before bias and activation.

    Args:
        layer: one that `takes` is true of.
        exact: its inputs in the float network, [n, ...].
        given: its inputs in the quantized network.
        seed: of the places drawn where there are more than memory is for (some thousands).
    """
    axes = _axes(layer, exact.shape[1:-1])
    outputs = [len(exact), *(len(axis.places) for axis in axes)]
    width = math.prod(axis.places.shape[1] for axis in axes) * exact.shape[-1]
    total = math.prod(outputs)
    inputs = width // (exact.shape[-1] if _is_depthwise(layer) else _groups(layer))
    enough = max(_FEW_ROWS, _ROWS_PER_INPUT * inputs)
    count = min(total, _MAX_ROWS, enough, max(_MIN_ROWS, _MAX_VALUES // width))
    drawn = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    places = np.unravel_index(drawn, outputs)
    parts = [_grouped(layer, _gathered(array, axes, places)) for array in (exact, given)]
    return Rows(parts[0], parts[1], places[0])


def _gathered(array: Array, axes: Sequence[_Axis], places: tuple[Array, ...]) -> Array:
    """The inputs under the kernel's taps at places (sample, then along each axis), [n, taps, channels]."""
    rank = len(axes)
    inside: Array = np.ones((len(places[0]), *[1] * rank), bool)
    index: list[Array] = [places[0].reshape(-1, *[1] * rank)]
    for number, axis in enumerate(axes):
        shape = [-1, *[1] * rank]
        shape[1 + number] = axis.places.shape[1]
        index.append(axis.places[places[1 + number]].reshape(shape))
        inside = inside & axis.inside[places[1 + number]].reshape(shape)
    rows = array[tuple(index)].astype(np.float32, copy=False)
    if not inside.all():
        rows = rows * inside[..., None]
    return rows.reshape(len(rows), -1, array.shape[-1])


def _grouped(layer: Layer, rows: Array) -> Array:
    """[n, taps, channels] as [groups, n, K]."""
    count, taps, channels = rows.shape
    groups = channels if _is_depthwise(layer) else _groups(layer)
    parted = rows.reshape(count, taps, groups, channels // groups)
    return np.ascontiguousarray(parted.transpose(2, 0, 1, 3)).reshape(groups, count, -1)


def _axes(layer: Layer, sizes: tuple[int, ...]) -> list[_Axis]:
    """One for each axis between the samples and the channels; a dense layer has a tap of its own at each place."""
    if layer.kind.__name__ == "Dense":
        return [_forward(size, 1, 1, 1, "valid") for size in sizes]
    config = layer.config
    taps = layer.weights[_name(layer)].shape[: len(sizes)]
    strides, dilations = (_each(config[key], len(sizes)) for key in ("strides", "dilation_rate"))
    if not _is_transposed(layer):
        return [_forward(*each, config["padding"]) for each in zip(sizes, taps, strides, dilations, strict=True)]
    extra = config.get("output_padding")
    extras = [None] * len(sizes) if extra is None else _each(extra, len(sizes))
    return [_backward(*each, config["padding"]) for each in zip(sizes, taps, strides, dilations, extras, strict=True)]


def _forward(size: int, taps: int, stride: int, dilation: int, padding: str) -> _Axis:
    reach = (taps - 1) * dilation + 1
    before, outputs = 0, (size - reach) // stride + 1
    if padding == "same":
        outputs = -(-size // stride)
        before = max((outputs - 1) * stride + reach - size, 0) // 2
    elif padding == "causal":
        before, outputs = reach - 1, (size - 1) // stride + 1
    places = np.arange(outputs)[:, None] * stride + np.arange(taps) * dilation - before
    return _axis(places, (places >= 0) & (places < size))


def _backward(size: int, taps: int, stride: int, dilation: int, extra: int | None, padding: str) -> _Axis:
    """Of a transposed convolution: the inputs whose windows, with the roles exchanged, reach a place of the output."""
    reach = (taps - 1) * dilation + 1
    if extra is not None:
        outputs = (size - 1) * stride + reach - (2 * (reach // 2) if padding == "same" else 0) + extra
    else:
        outputs = size * stride + (max(reach - stride, 0) if padding == "valid" else 0)
    before = max((size - 1) * stride + reach - outputs, 0) // 2 if padding == "same" else 0
    steps = np.arange(outputs)[:, None] + before - np.arange(taps) * dilation
    places = steps // stride
    return _axis(places, (steps % stride == 0) & (places >= 0) & (places < size))


def _axis(places: Array, inside: Array) -> _Axis:
    return _Axis(np.where(inside, places, 0), inside)


def _each(value: int | Sequence[int], rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)


def _name(layer: Layer) -> str:
    return "depthwise_kernel" if _is_depthwise(layer) else "kernel"


def _groups(layer: Layer) -> int:
    return int(layer.config.get("groups", 1))


def _is_depthwise(layer: Layer) -> bool:
    return layer.kind.__name__ in _DEPTHWISE


def _is_transposed(layer: Layer) -> bool:
    return layer.kind.__name__ in _TRANSPOSED
