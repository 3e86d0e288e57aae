"""What the values of tensors are like in the float network, and how much each matters to what the network answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.probing import Batch, Probe

BINS = 8192  # so many that of a grid of 256 values the rounding shows, too: 32 to a step


class Histogram(NamedTuple):
    """The values of a tensor other than 0, in bins of one width.

    Attributes:
        low: the least value, at most 0.
        high: the largest, at least 0.
        counts: how many values lie in each of the bins between them.
        weights: what errors of them matter: the sum over them of the squared gradient of the answers.
        zeros: how many values are 0, which all grids hold.
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    zeros: int

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """The value in the middle of each bin."""
        width = (self.high - self.low) / self.counts.size
        return self.low + width * (np.arange(self.counts.size, dtype=np.float64) + 0.5)


def observe(probe: Probe, batches: Iterable[Batch], weighed: Iterable[Batch]) -> dict[int, Histogram]:
    """Histograms of all points of a network that have values other than 0.

    Args:
        probe: the network.
        batches: arrays for the inputs, to be had twice.
        weighed: of these gradients are taken.
    """
    found = {point: _empty(*pair) for point, pair in ends(probe, batches).items() if _has_width(*pair)}
    for batch in batches:
        for point, array in probe.values(batch).items():
            if point in found:
                found[point] = _with_counts(found[point], array)
    for batch in weighed:
        for values, gradients in probe.gradients(batch):
            found = {point: _with_weights(one, values[point], gradients[point]) for point, one in found.items()}
    return found


def ends(probe: Probe, batches: Iterable[Batch]) -> dict[int, tuple[float, float]]:
    """The least and the largest value of each point, and 0."""
    found = dict.fromkeys(probe.points, (0.0, 0.0))
    for batch in batches:
        for point, array in probe.values(batch).items():
            low, high = found[point]
            found[point] = min(low, float(array.min())), max(high, float(array.max()))
    return found


def _has_width(low: float, high: float) -> bool:
    return high > low and math.isfinite(high - low)


def _empty(low: float, high: float) -> Histogram:
    return Histogram(low, high, np.zeros(BINS), np.zeros(BINS), 0)


def _with_counts(histogram: Histogram, values: Array) -> Histogram:
    counts = np.bincount(_bins(histogram, values[values != 0]), minlength=BINS)
    zeros = values.size - int(np.count_nonzero(values))
    return histogram._replace(counts=histogram.counts + counts, zeros=histogram.zeros + zeros)


def _with_weights(histogram: Histogram, values: Array, gradients: Array) -> Histogram:
    squares = np.square(gradients[values != 0], dtype=np.float64)
    weights = np.bincount(_bins(histogram, values[values != 0]), squares, BINS)
    return histogram._replace(weights=histogram.weights + weights)


def _bins(histogram: Histogram, values: Array) -> npt.NDArray[np.intp]:
    per_bin = (histogram.high - histogram.low) / BINS
    return np.clip((values - histogram.low) / per_bin, 0, BINS - 1).astype(np.intp)
