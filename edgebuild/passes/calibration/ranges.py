"""Ranges for a tensor, by what its histogram says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from edgebuild.core.passes import Ranges
from edgebuild.passes.calibration.grid import LEVELS, Range, nudged, rounded
from edgebuild.passes.calibration.histograms import Histogram

Vector = npt.NDArray[np.float64]
Error = Callable[[float, float], float]  # of the range between two ends

PERCENTILES = (99.9, 99.99, 99.999)  # of the values that lie within, on each side of the histogram
_PERCENTILE = 99.99  # where one is wanted for all tensors
_SHRINK = np.geomspace(1, 0.1, 48)  # of the end of a range, in the search for the least error
_COARSE = 4  # ends at a time, until the best is near
_BETWEEN = (0.25, 0.5, 0.75)
_ROUNDS = 3  # of that search, over both ends
_KL_BINS = 2048


def min_max(histogram: Histogram) -> Range:
    """All values, as the converter does."""
    return nudged(histogram.low, histogram.high)


def percentile(histogram: Histogram, percent: float = _PERCENTILE) -> Range:
    """What all but a share of the values lie within, with that share left out on each side."""
    with_zeros = histogram.counts.copy()
    zero = np.searchsorted(histogram.centers, 0.0)
    with_zeros[min(int(zero), with_zeros.size - 1)] += histogram.zeros
    below = np.cumsum(with_zeros)
    left_out = (1 - percent / 100) * below[-1]
    edges = np.linspace(histogram.low, histogram.high, histogram.counts.size + 1)
    first = np.searchsorted(below, left_out, side="right")
    last = np.searchsorted(below, below[-1] - left_out, side="left") + 1
    return nudged(float(edges[first]), float(edges[min(last, edges.size - 1)]))


def mse(histogram: Histogram) -> Range:
    """The least mean square error of the values."""
    return _searched(histogram, lambda low, high: error(histogram, nudged(low, high), histogram.counts))


def weighted(histogram: Histogram) -> Range:
    """The least mean square error of what the network answers, as far as the errors of values do not meet."""
    return _searched(histogram, lambda low, high: error(histogram, nudged(low, high), histogram.weights))


def kl(histogram: Histogram) -> Range:
    """The least divergence of the distribution on the grid from the true one.

    As in Migacz 2017, "8-bit inference with TensorRT" (GPU Technology Conference, slides 21 to 38), with both ends of
    the range searched for.
    """
    counts = histogram.counts.reshape(_KL_BINS, -1).sum(1)
    edges = np.linspace(histogram.low, histogram.high, _KL_BINS + 1)

    def divergence(low: float, high: float) -> float:
        first = int(np.searchsorted(edges, low, side="right")) - 1
        last = int(np.searchsorted(edges, high, side="left"))
        return _divergence(counts, max(first, 0), max(last, first + 1))

    return _searched(histogram, divergence)


def error(histogram: Histogram, chosen: Range, weights: Vector) -> float:
    """The sum over all values of weight times squared error, on the grid of a range."""
    centers = histogram.centers
    return float(weights @ np.square(centers - rounded(centers, chosen)))


def candidates(histogram: Histogram) -> list[Range]:
    """All ways to choose a range for a tensor, and ranges between all values and the least mean square error."""
    clipped = [percentile(histogram, percent) for percent in PERCENTILES]
    widest, narrow = min_max(histogram), mse(histogram)
    between = [
        nudged(widest.low + part * (narrow.low - widest.low), widest.high + part * (narrow.high - widest.high))
        for part in _BETWEEN
    ]
    return list(dict.fromkeys([widest, *clipped, *between, narrow, kl(histogram), weighted(histogram)]))


KINDS: Mapping[Ranges, Callable[[Histogram], Range]] = {
    Ranges.MIN_MAX: min_max,
    Ranges.PERCENTILE: percentile,
    Ranges.MSE: mse,
    Ranges.KL: kl,
}


def _searched(histogram: Histogram, error_of: Error) -> Range:
    """The best ends, one after the other, among those that are the histogram's or nearer to 0."""
    low, high = histogram.low, histogram.high
    for _ in range(_ROUNDS):
        before = low, high
        if histogram.high > 0:
            high = _best_end(histogram.high, partial(error_of, low))
        if histogram.low < 0:
            low = _best_end(histogram.low, partial(_turned, error_of, high))
        if (low, high) == before:
            break
    return nudged(low, high)


def _turned(error_of: Error, high: float, low: float) -> float:
    return error_of(low, high)


def _best_end(widest: float, error_of: Callable[[float], float]) -> float:
    """The end with the least error: every fourth first, then those beside the best of them."""
    errors = {number: error_of(float(widest * _SHRINK[number])) for number in range(0, _SHRINK.size, _COARSE)}
    best = min(errors, key=lambda number: errors[number])
    near = range(max(best - _COARSE + 1, 0), min(best + _COARSE, _SHRINK.size))
    errors |= {number: error_of(float(widest * _SHRINK[number])) for number in near if number not in errors}
    return float(widest * _SHRINK[min(errors, key=lambda number: errors[number])])


def _divergence(counts: Vector, first: int, last: int) -> float:
    """The Kullback-Leibler divergence of what 256 values can show of bins first to last from the bins themselves.

    What lies outside is put into the bins at the ends.
    """
    inside = counts[first:last]
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    starts = np.unique(np.linspace(0, inside.size, LEVELS + 2).astype(np.intp)[:-1])
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    level = np.add.reduceat(inside, starts) / np.maximum(filled, 1)
    shown = np.repeat(level, np.diff(np.append(starts, inside.size))) * (inside > 0)
    if shown.sum() == 0:
        return np.inf
    where = reference > 0
    p, q = reference[where] / reference.sum(), np.maximum(shown[where] / shown.sum(), 1e-12)
    return float(p @ np.log(p / q))
