"""What the values of tensors are like in the float network, and how much each matters to what the network answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.probing import Batch, Probe
from edgebuild.passes.calibration.surveying import Ends

Bins = npt.NDArray[np.intp]
BINS = 8192  # so many that of a grid of 256 values the rounding shows, too: 32 to a step


class Histogram(NamedTuple):
    """The values of a tensor other than 0, in bins of one width.

    Attributes:
        low: the least value, at most 0.
        high: the largest, at least 0.
        counts: how many values lie in each of the bins between them.
        weights: what errors of them matter: the sum over them of the squared gradient of the answers.
        zeros: how many values are 0, which all grids hold.
        slopes: for each sample and projection the sum of the gradients of the values in each bin, float32 [n, bins].
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    zeros: int
    slopes: npt.NDArray[np.float32] = np.zeros((0, 1), np.float32)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """The value in the middle of each bin."""
        width = (self.high - self.low) / self.counts.size
        return self.low + width * (np.arange(self.counts.size, dtype=np.float64) + 0.5)


def observe(probe: Probe, ends: Ends, batches: Iterable[Batch], *, weighed: bool) -> dict[int, Histogram]:
    """Histograms of all points of a network that have values other than 0.

    Args:
        probe: the network.
        ends: the least and the largest value of each point, and 0, which no value of these batches exceeds.
        batches: arrays for the inputs, gone through once.
        weighed: whether gradients are taken as well.
    """
    found = {point: _empty(*pair) for point, pair in ends.items() if _has_width(*pair)}
    slopes: dict[int, list[npt.NDArray[np.float32]]] = {point: [] for point in found}
    for batch in batches:
        values, gradients = probe.gradients(batch) if weighed else (probe.values(batch), [])
        for point, histogram in found.items():
            bins = _bins(histogram, values[point])
            found[point] = _with_counts(histogram, values[point], bins)
            for each in gradients:
                free: Array = np.where(values[point] != 0, each[point], np.float32(0))
                found[point] = _with_weights(found[point], free, bins)
                slopes[point].append(_slopes(free, bins))
    return {
        point: one._replace(slopes=np.concatenate(slopes[point])) if slopes[point] else one
        for point, one in found.items()
    }


def _has_width(low: float, high: float) -> bool:
    return high > low and math.isfinite(high - low)


def _empty(low: float, high: float) -> Histogram:
    return Histogram(low, high, np.zeros(BINS), np.zeros(BINS), 0)


def _with_counts(histogram: Histogram, values: Array, bins: Bins) -> Histogram:
    counts = histogram.counts + np.bincount(bins.ravel(), minlength=BINS)
    zeros = values.size - int(np.count_nonzero(values))
    counts[_bins(histogram, np.zeros(1, np.float32))] -= zeros
    return histogram._replace(counts=counts, zeros=histogram.zeros + zeros)


def _with_weights(histogram: Histogram, gradients: Array, bins: Bins) -> Histogram:
    weights = np.bincount(bins.ravel(), np.square(gradients.ravel()), BINS)
    return histogram._replace(weights=histogram.weights + weights)


def _slopes(gradients: Array, bins: Bins) -> npt.NDArray[np.float32]:
    """The sums of gradients by sample and bin."""
    samples = len(gradients)
    rows = bins.reshape(samples, -1) + BINS * np.arange(samples, dtype=bins.dtype)[:, None]
    sums = np.bincount(rows.ravel(), gradients.ravel(), BINS * samples)
    return sums.reshape(samples, BINS).astype(np.float32)


def _bins(histogram: Histogram, values: Array) -> Bins:
    per_bin = np.float32((histogram.high - histogram.low) / BINS)
    found: Bins = np.clip((values - np.float32(histogram.low)) / per_bin, 0, BINS - 1).astype(np.intp)
    return found
