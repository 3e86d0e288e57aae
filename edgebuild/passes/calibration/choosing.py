"""Ranges for all points of a network at once, held against min-max on samples that had no part in the choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from edgebuild.core.passes import Ranges
from edgebuild.passes.calibration import measuring, ranges, simulation
from edgebuild.passes.calibration.drawing import Batches, Drawn
from edgebuild.passes.calibration.grid import Array, Range, nudged
from edgebuild.passes.calibration.histograms import Histogram, observe
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.calibration.probing import Probe
from edgebuild.passes.calibration.simulation import Fidelity
from edgebuild.passes.calibration.surveying import Survey
from edgebuild.passes.graph import batches as rows_of_samples
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.running import Pool, Runner

_PROJECTIONS = 2  # for each sample that gradients are taken of


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
    return samples * rows_of_samples.rows(plan.graph)[tensor]


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
        tried |= {other: of_kind(histograms, other) for other in ranges.KINDS}
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
    return {point: ranges.KINDS[kind](histogram) for point, histogram in histograms.items()}


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
        candidates = ranges.candidates(histogram)
        found[point] = candidates[int(np.argmin(measuring.costs(histogram, candidates)))]
    return found
