"""Ranges for all points of a network by their histograms, kept where they beat min-max on samples held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.passes import Ranges
from edgebuild.passes.calibration import simulation
from edgebuild.passes.calibration.drawing import Batches, Drawn
from edgebuild.passes.calibration.grid import LEVELS, Array, Range, nudged, rounded
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.calibration.simulation import Fidelity
from edgebuild.passes.calibration.surveying import Histogram, Probe, Survey, observe
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.running import Pool, Runner, rows

_PROJECTIONS = 2  # for each sample that gradients are taken of
_Vector = npt.NDArray[np.float64]
_Error = Callable[[float, float], float]  # of the range between two ends
_PERCENTILES = (99.9, 99.99, 99.999)  # of the values that lie within, on each side of the histogram
_PERCENTILE = 99.99  # where one is wanted for all tensors
_SHRINK = np.geomspace(1, 0.1, 48)  # of the end of a range, in the search for the least error
_COARSE = 4  # ends at a time, until the best is near
_BETWEEN = (0.25, 0.5, 0.75)
_ROUNDS = 3  # of that search, over both ends
_KL_BINS = 2048


class Judge:
    """Simulates a quantized network on samples held out and compares what it makes with the float network.

    Args:
        plan: the float network.
        batches: the first of the samples that judge.
        seen: all of these in the float network.
        pool: of layers.
    """

    def __init__(self, plan: Plan, batches: Batches, seen: Survey, pool: Pool) -> None:
        self._plan, self._batches, self.pool = plan, batches, pool
        self._exact = [array[: _rows(plan, tensor, len(batches))] for tensor, array in _logits(plan, seen)]
        self._runner = Runner(plan.graph, dict.fromkeys(plan.logits), pool)

    def fidelity(self, graph: Graph, chosen: Mapping[int, Range]) -> Fidelity:
        """How near it comes before a softmax, with a graph's weights and ranges."""
        layers = simulation.rounded(graph.layers, self._plan.floating)
        outputs = simulation.outputs(self._runner, self._batches, layers, chosen)
        made = dict(zip(self._runner.wanted, outputs, strict=True))
        return simulation.fidelity(self._exact, [made[tensor] for tensor in self._plan.logits])


def _logits(plan: Plan, seen: Survey) -> Iterable[tuple[int, Array]]:
    return zip(plan.logits, seen.outputs, strict=True)


def _rows(plan: Plan, tensor: int, samples: int) -> int:
    """The rows that so many samples have in a tensor."""
    return samples * rows(plan.graph)[tensor]


class Choice(NamedTuple):
    """The ranges of all points that have any.

    Attributes:
        ranges: by the numbers of tensors.
        narrower: how many of them leave values out.
        min_max: how near the quantized network comes on samples held out with all values in the ranges.
        chosen: the same with these ranges, which the samples held out then had a part in where nothing is left out.
    """

    ranges: Mapping[int, Range]
    narrower: int
    min_max: Fidelity
    chosen: Fidelity


def choose(plan: Plan, drawn: Drawn, judge: Judge, seen: Survey, kind: Ranges, *, seed: int) -> Choice:
    """Ranges of a kind; for `best` those of the least cost by tensor, or of one kind for all, that the judge prefers.

    Args:
        plan: the float network.
        drawn: samples, of which some are chosen by.
        judge: has the others.
        seen: all samples in the float network.
        kind: how ranges are chosen; `best` is never worse in the judge's eyes than another.
        seed: of the projections that weigh errors.
    """
    probe = Probe(plan, seen.sizes, projections=_PROJECTIONS, seed=seed, pool=judge.pool)
    histograms = observe(probe, seen.chosen, drawn.weighed, weighed=kind == Ranges.BEST)
    tried = {Ranges.MIN_MAX: of_kind(histograms, Ranges.MIN_MAX)}
    if kind == Ranges.BEST:
        tried |= {other: of_kind(histograms, other) for other in _KINDS}
        tried[kind] = _of_least_cost(histograms)
    else:
        tried[kind] = of_kind(histograms, kind)
    found = {name: judge.fidelity(plan.graph, chosen) for name, chosen in tried.items()}
    taken = _preferred(found) if kind == Ranges.BEST else kind
    plain, chosen = tried[Ranges.MIN_MAX], tried[taken]
    narrower = sum(chosen[point] != plain[point] for point in chosen)
    whole = _with_all_samples(chosen, histograms, seen.judged)
    reached = found[taken] if whole == chosen else judge.fidelity(plan.graph, whole)
    if kind == Ranges.BEST and reached.score_db < found[taken].score_db:
        return Choice(chosen, narrower, found[Ranges.MIN_MAX], found[taken])
    return Choice(whole, narrower, found[Ranges.MIN_MAX], reached)


def _preferred(found: Mapping[Ranges, Fidelity]) -> Ranges:
    """Min-max, unless another does better over all samples as well as by its score."""
    least_db = found[Ranges.MIN_MAX].sqnr_db
    return max((name for name in found if found[name].sqnr_db >= least_db), key=lambda name: found[name].score_db)


def of_kind(histograms: Mapping[int, Histogram], kind: Ranges) -> dict[int, Range]:
    """The ranges of all points, chosen in one way."""
    return {point: _KINDS[kind](histogram) for point, histogram in histograms.items()}


def _with_all_samples(
    chosen: Mapping[int, Range], seen: Mapping[int, Histogram], more: Mapping[int, tuple[float, float]]
) -> dict[int, Range]:
    """Where a range leaves nothing out that was seen it takes in what the samples held out have, too."""
    found = {}
    for point, own in chosen.items():
        (low, high), histogram = more[point], seen[point]
        wider = Range(
            min(own.low, low) if own.low < histogram.low + own.scale else own.low,
            max(own.high, high) if own.high > histogram.high - own.scale else own.high,
        )
        found[point] = own if wider == own else nudged(*wider)
    return found


def _of_least_cost(histograms: Mapping[int, Histogram]) -> dict[int, Range]:
    found = {}
    for point, histogram in histograms.items():
        candidates = _candidates(histogram)
        found[point] = candidates[int(np.argmin(costs(histogram, candidates)))]
    return found


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


def error(histogram: Histogram, chosen: Range, weights: _Vector) -> float:
    """The sum over all values of weight times squared error, on the grid of a range."""
    centers = histogram.centers
    return float(weights @ np.square(centers - rounded(centers, chosen)))


def _candidates(histogram: Histogram) -> list[Range]:
    """All ways to choose a range for a tensor, and ranges between all values and the least mean square error."""
    clipped = [percentile(histogram, percent) for percent in _PERCENTILES]
    widest, narrow = min_max(histogram), mse(histogram)
    between = [
        nudged(widest.low + part * (narrow.low - widest.low), widest.high + part * (narrow.high - widest.high))
        for part in _BETWEEN
    ]
    return list(dict.fromkeys([widest, *clipped, *between, narrow, kl(histogram), weighted(histogram)]))


_KINDS: Mapping[Ranges, Callable[[Histogram], Range]] = {
    Ranges.MIN_MAX: min_max,
    Ranges.PERCENTILE: percentile,
    Ranges.MSE: mse,
    Ranges.KL: kl,
}


def _searched(histogram: Histogram, error_of: _Error) -> Range:
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


def _turned(error_of: _Error, high: float, low: float) -> float:
    return error_of(low, high)


def _best_end(widest: float, error_of: Callable[[float], float]) -> float:
    """The end with the least error: every fourth first, then those beside the best of them."""
    errors = {number: error_of(float(widest * _SHRINK[number])) for number in range(0, _SHRINK.size, _COARSE)}
    best = min(errors, key=lambda number: errors[number])
    near = range(max(best - _COARSE + 1, 0), min(best + _COARSE, _SHRINK.size))
    errors |= {number: error_of(float(widest * _SHRINK[number])) for number in near if number not in errors}
    return float(widest * _SHRINK[min(errors, key=lambda number: errors[number])])


def _divergence(counts: _Vector, first: int, last: int) -> float:
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


def costs(histogram: Histogram, candidates: Sequence[Range]) -> npt.NDArray[np.float64]:
    """For each candidate the mean square of the change of the outputs that rounding a point's values onto it makes.

    The change is the sum over a sample's values of error times gradient. Errors of clipping have one sign and add up,
    those of rounding cancel; a sum of squares for each value would take both for the same. Values of one bin have the
    error of its middle.

    Args:
        histogram: of the point, with slopes.
        candidates: of it.
    """
    errors = np.stack([rounded(histogram.centers, chosen) - histogram.centers for chosen in candidates], 1)
    changes = histogram.slopes @ errors.astype(np.float32)
    return np.asarray(np.square(changes, dtype=np.float64).sum(0))
