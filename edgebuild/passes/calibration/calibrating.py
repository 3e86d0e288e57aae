"""Calibration on samples: ranges of activations, rounding of weights and correction of biases, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from edgebuild.core.passes import BiasCorrection, Ranges, Rounding
from edgebuild.data.samples import Samples
from edgebuild.errors import UsageError
from edgebuild.passes.calibration import analytic, correcting, export, points, walking
from edgebuild.passes.calibration import rounding as rounder
from edgebuild.passes.calibration.choosing import Choice, Judge, choose
from edgebuild.passes.calibration.drawing import Drawn
from edgebuild.passes.calibration.grid import Array, Range
from edgebuild.passes.calibration.simulation import Fidelity
from edgebuild.passes.graph.ir import Graph, Layer
from edgebuild.passes.loading import Network


class Calibrated(NamedTuple):
    """A calibrated network.

    Attributes:
        network: what `freeze.freeze` takes: with nodes that carry the ranges through the converter.
        graph: the same without nodes: a float network, with weights on grids where they were rounded.
        ranges: by the numbers of the graph's tensors.
        notes: what was done, for people.
    """

    network: Network
    graph: Graph
    ranges: Mapping[int, Range]
    notes: tuple[str, ...]


def calibrate(
    graph: Graph, samples: Samples, *, ranges: Ranges, rounding: Rounding, bias: BiasCorrection, seed: int
) -> Calibrated:
    """Choose the grids of int8 for a network, and what comes to lie on them.

    Weights and biases are left as they were where that does better on samples held out.

    Args:
        graph: with batch norms folded where they can be.
        samples: the calibration split.
        ranges: how ranges of activations are chosen.
        rounding: how weights are rounded.
        bias: how means of channels are corrected.
        seed: of the samples held out, of those that are looked at closely, and of the projections that weigh errors.

    Raises:
        UsageError: there are no samples.
        StepError: the graph is not consistent.
    """
    if not len(samples):
        raise UsageError("calibration needs samples, and there are none", remedy="Give x_train or x_calibration.")
    plan = points.plan(graph)
    drawn = Drawn(plan, samples, seed)
    judge = Judge(plan, drawn.judged_by)
    choice = choose(plan, drawn, judge, ranges, seed=seed)
    notes = [_of_ranges(choice)]
    done = plan.graph
    refine = _Refine(rounding, bias, seed)
    if refine.does_anything:
        refined = walking.refined(plan, choice.ranges, drawn.walked.whole(), refine)
        reached = judge.fidelity(refined, choice.ranges)
        done = refined if reached.score_db >= choice.chosen.score_db else done
        notes.append(refine.note(choice.chosen, reached))
    if bias == BiasCorrection.ANALYTIC:
        found = analytic.corrected(plan.graph, done)
        done = found.graph
        notes.append(f"biases of {found.layers} layers corrected by what batch norms tell of their inputs")
    return Calibrated(export.network(done, choice.ranges, graph), done, choice.ranges, tuple(notes))


class _Refine:
    """What is done to one layer of the walk."""

    def __init__(self, rounding: Rounding, bias: BiasCorrection, seed: int) -> None:
        self._rounds = rounding == Rounding.ADAPTIVE
        self._corrects = bias == BiasCorrection.EMPIRICAL
        self._seed = seed

    @property
    def does_anything(self) -> bool:
        """Whether layers are changed at all."""
        return self._rounds or self._corrects

    def __call__(self, layer: Layer, exact: Array, given: Array) -> Layer:
        """Round its kernel, then correct its bias."""
        changed = layer
        if self._rounds:
            changed = rounder.refit(layer, exact, given, correct=False, seed=self._seed)
        return correcting.corrected(changed, exact, given, layer) if self._corrects else changed

    def note(self, before: Fidelity, after: Fidelity) -> str:
        """What was done and what came of it."""
        rounded = ["weights rounded adaptively"] if self._rounds else []
        corrected = ["biases corrected"] if self._corrects else []
        text = (
            f"{', '.join(rounded + corrected)}: output SQNR {before.sqnr_db:.1f} -> {after.sqnr_db:.1f} dB (simulated)"
        )
        return text if after.score_db >= before.score_db else f"{text}, taken back: most samples do worse"


def _of_ranges(choice: Choice) -> str:
    return (
        f"ranges: {choice.narrower} of {len(choice.ranges)} tensors narrower than min-max; output SQNR"
        f" {choice.min_max.sqnr_db:.1f} -> {choice.chosen.sqnr_db:.1f} dB on calibration samples held out (simulated)"
    )
