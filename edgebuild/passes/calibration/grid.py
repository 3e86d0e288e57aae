"""The int8 grids of TensorFlow Lite: one for a tensor of activations, one for each output channel of a kernel.

Both as in Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", sections 2.1 and 3.1, with the kernels of TensorFlow Lite symmetric and without -128.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.graph.ir import Layer

Array = npt.NDArray[Any]

LEVELS = 255  # steps between the ends of an asymmetric range of 8 bits
_WEIGHT_LEVELS = 127
# For each weight that the converter quantizes, the axes of its output channels from the end.
_CHANNELS = {"kernel": (-1,), "depthwise_kernel": (-2, -1), "pointwise_kernel": (-1,)}


class Range(NamedTuple):
    """The least and the largest value that a grid holds; 0 is one of its values."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The distance of two values."""
        return (self.high - self.low) / LEVELS

    @property
    def zero_point(self) -> int:
        """The int8 number that stands for 0."""
        return round(-128 - self.low / self.scale)


def nudged(low: float, high: float) -> Range:
    """The range of the same width, or as little wider as 0 needs, in which 0 is a value of the grid.

    Raises:
        ValueError: it would hold no value but 0.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if not high > low or not np.isfinite(high - low):
        raise ValueError("a range needs a width")
    scale = (high - low) / LEVELS
    zero = round(-low / scale)
    return Range(float(np.float32(-zero * scale)), float(np.float32((LEVELS - zero) * scale)))


def onto(values: Array, grid: Range) -> Array:
    """Values rounded onto a grid and clipped to its ends, as fake-quant nodes do in training (float32)."""
    scale = np.float32(grid.scale)
    zero = grid.zero_point + 128
    steps = np.clip(np.rint(values / scale), -zero, LEVELS - zero)
    return np.asarray(steps * scale, np.float32)


def rounded(values: npt.NDArray[np.float64], chosen: Range) -> npt.NDArray[np.float64]:
    """Values rounded onto a grid and clipped to its ends, in float64."""
    steps = np.rint(values / chosen.scale)
    return np.clip(steps, round(chosen.low / chosen.scale), round(chosen.high / chosen.scale)) * chosen.scale


def with_weights_onto(layer: Layer) -> Layer:
    """A layer with its kernels on the grids that the converter gives them, by rounding to the nearest value."""
    return layer._replace(weights={name: _rounded(layer, name, array) for name, array in layer.weights.items()})


def _rounded(layer: Layer, name: str, array: Array) -> Array:
    channels = _CHANNELS.get(name)
    if channels is None or array.ndim < 2:
        return array
    if layer.kind.__name__ == "Conv2DTranspose":
        channels = (-2,)
    others = tuple(axis for axis in range(array.ndim) if axis - array.ndim not in channels)
    scale = np.abs(array).max(others, keepdims=True) / _WEIGHT_LEVELS
    scale[scale == 0] = 1
    return np.asarray(np.rint(array / scale) * scale, array.dtype)
