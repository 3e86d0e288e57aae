"""Channels made alike, so that int8 loses less; the float network computes the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Equalize
from edgebuild.errors import StepError
from edgebuild.passes import pass_files
from edgebuild.passes.calibration import points as calibration_points, simulation
from edgebuild.passes.calibration.grid import Range, nudged
from edgebuild.passes.equalization import absorption, choice, data_free, preparing, trial
from edgebuild.passes.equalization.absorption import rectified
from edgebuild.passes.equalization.choice import Chosen
from edgebuild.passes.equalization.preparing import prepare
from edgebuild.passes.equalization.scaling import Scales, Scaling, groups, rescaled, with_fixed
from edgebuild.passes.equalization.statistics import Batch, Extents, extents, points, rows_alive, together
from edgebuild.passes.equalization.tracing import trace
from edgebuild.passes.graph import files, running
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.proof import difference
from edgebuild.passes.pass_files import written
from edgebuild.passes.surgery.channels import Vector

# Of the outputs' largest value, on the calibration data: as exact as sums of other roundings can be, over many layers
# whose channels lay orders of magnitude apart.
_TOLERANCE = 1e-3
_STRENGTHS = (0.5, 0.75)  # for all groups alike: a choice by one group's error does not see how errors add up
_PROVED_ON = 64  # samples
_ROWS = 64  # samples whose answers are compared, taken evenly from all
_HELD_OUT = 4  # one sample of so many
_TOO_FEW = 8  # of fewer samples none can be spared


def run(job: CompressJob, say: Say) -> Compressed:
    """Equalize.

    Raises:
        StepError: the network cannot be run layer by layer, or would compute something else.
    """
    assert isinstance(job.settings, Equalize), "the engine sends each pass to its own module"
    settings, graph = job.settings, files.load(Path(job.network))
    say("comparing channels")
    done = equalize(
        graph,
        pass_files.batches(job, graph),
        fold=settings.fold,
        scales=settings.scales,
        absorb_biases=settings.absorb,
        split_share=settings.split,
    )
    return msgspec.structs.replace(written(done.graph, job, done.notes), instead=dict(done.instead))


class Equalized(NamedTuple):
    """A network that computes the same, short sentences on what was done to it, and what does what a layer did."""

    graph: Graph
    notes: tuple[str, ...]
    instead: Mapping[str, tuple[str, ...]]


def equalize(
    graph: Graph,
    samples: Iterable[Batch] | None,
    *,
    fold: bool = True,
    scales: bool = True,
    absorb_biases: bool = True,
    split_share: float = 0.0,
) -> Equalized:
    """Rewrite a float network so that int8 with one step for each activation tensor loses less.

    Cross-layer equalization, high-bias absorption (Nagel et al. 2019, section 4.1) and splitting of outlier channels
    (Zhao et al. 2019), in this order: biases, scales, splitting. On the samples the network computes the same.

    Args:
        graph: the network.
        samples: calibration data, preprocessed: batches of one array for each input; None for none, then batch norms
            and weights alone tell how large channels are, and no channel is split.
        fold: whether to fold batch norms first; where they stay, scales go through them.
        scales: whether to rescale channels.
        absorb_biases: whether to move high biases into the next layers.
        split_share: how many channels may be added to a layer by splitting, as a share of its own.

    Raises:
        StepError: the network computes something else afterwards, which is an error of this package.
    """
    work = _Work(graph, None if samples is None else [list(batch) for batch in samples], fold=fold)
    if absorb_biases:
        work.absorb()
    if scales:
        work.scale()
    if split_share:
        work.split(split_share)
    work.prove()
    return Equalized(work.graph, tuple(work.notes), work.instead)


class _Work:
    """A network while it is equalized: `graph` as it is now, and what there is to say of it."""

    def __init__(self, graph: Graph, batches: list[list[Any]] | None, *, fold: bool) -> None:
        self._before, self._batches = graph, batches
        self.graph, self.instead = prepare(graph, fold=fold)
        self._known = data_free.normals(graph, self.graph)
        self.notes: list[str] = []
        self._capped = 0
        self._pool = running.Pool()  # one for all: layers keep their structure, unless channels are split
        self._extents: Extents | None = None

    def absorb(self) -> None:
        found: Extents = {} if self._batches is None else self._watched()
        if self._batches is None:
            lows = data_free.lows(self.graph, self._known)
        else:
            lows = {item.tensor: found[item.tensor].low for item in rectified(self.graph)}
        result = absorption.absorb(self.graph, lows, found)
        if result.channels:
            self.graph, self._extents = result.graph, None
            moved = _count(result.channels, "channel")
            self.notes.append(f"equalized: high biases of {moved} moved into the next layers")

    def scale(self) -> None:
        scaling = trace(self.graph)
        if self._batches is None:
            chosen = data_free.choose(self.graph, scaling, self._known)
            self._say(chosen, ", by batch norms and weights alone")
        else:
            chosen = self._best(scaling, self._batches)
            found = {tensor: self._watched()[tensor] for tensor in points(self.graph, scaling)}
            spreads = [choice.spread(scaling, found, chosen, by) for by in (np.ones_like(chosen.scales), chosen.scales)]
            ranges = ", ranges of activations across channels {:.3g}x -> {:.3g}x".format(*spreads)
            self._say(chosen, ranges if chosen.changed else "")
        self.graph, self._extents = rescaled(self.graph, scaling, chosen.scales), None
        self._capped = _capped(scaling, chosen)

    def _best(self, scaling: Scaling, batches: list[list[Any]]) -> Chosen:
        """The scales with which the whole network does best: chosen group by group, alike for all, or none.

        Which of these, samples tell that had no part in the scales: channels that all reach the end of their tensor's
        range just so leave no room for what reaches further. Then all have a part, since none may reach a cap.
        """
        data = _divided(batches)
        learnt = self._extents_of(scaling, data.learnt)
        whole = learnt if data.judged is data.learnt else together(learnt, self._extents_of(scaling, data.judged))
        self._extents = whole
        known = trial.shown(self.graph, data.judged, groups(self.graph, scaling), self._pool)
        judge = _Judge(self.graph, scaling, data.judged, self._pool)
        scores = [judge.score_db(item.scales, learnt) for item in self._scales(scaling, learnt, data.judged, known)]
        return self._scales(scaling, whole, data.judged, known)[int(np.argmax(scores))]

    def _scales(self, scaling: Scaling, found: Extents, tried_on: Sequence[Batch], known: trial.Shown) -> list[Chosen]:
        kept = {tensor: found[tensor] for tensor in points(self.graph, scaling)}
        by_group = choice.choose(self.graph, scaling, kept, tried_on, known, self._pool)
        alike = [choice.uniform(self.graph, scaling, kept, strength) for strength in _STRENGTHS]
        return [by_group, *alike, Chosen(np.ones(scaling.classes), by_group.groups, ())]

    def split(self, share: float) -> None:
        if self._batches is None:
            self.notes.append("channels were not split: without calibration data nobody knows which stand out")
            return
        self.graph, added = preparing.split_channels(self.graph, self._watched(), share)
        if added:
            self.notes.append(f"split channels that stood out: {_count(added, 'channel')} more")

    def _watched(self) -> Extents:
        """The extents of all tensors that a step looks at, in the graph as it is now."""
        if self._extents is None:
            assert self._batches is not None, "without data nothing can be watched"
            self._extents = self._extents_of(trace(self.graph), self._batches)
        return self._extents

    def _extents_of(self, scaling: Scaling, batches: Sequence[Batch]) -> Extents:
        graph, ranged = _watched(self.graph, scaling)
        behind = {item.tensor: len(self.graph.tensors[item.tensor].shape) - 1 for item in rectified(self.graph)}
        return extents(graph, {**ranged, **behind, **points(self.graph, scaling)}, batches, self._pool)

    def prove(self) -> None:
        """Compare the outputs on some of the data with those of the network as it was.

        No channel reaches a cap on any of the data, and all else is exact for any input: some show a fault as well.

        Raises:
            StepError: they differ.
        """
        if self._batches is None:
            return
        shown = running.evenly(self._batches, _PROVED_ON)
        gap = _difference(self._before, self.graph, shown, self._pool)
        if not gap <= _TOLERANCE:
            raise StepError(
                f"the network {self.graph.name} does not compute the same after it was equalized",
                f"On the calibration data its outputs differ by {gap:.2g} of their largest value.",
                "Please report this with the network.",
            )
        if self._capped:
            what = f"{_count(self._capped, 'channel')} behind a ReLU6 now cut off elsewhere"
            on = f"on {_count(len(shown[0]), 'calibration sample')}"
            self.notes.append(f"equalized: {what}; {on} outputs differ by {gap:.1g} of the largest")

    def _say(self, chosen: Chosen, more: str) -> None:
        if chosen.groups:
            total = _count(len(chosen.groups), "group")
            self.notes.append(f"equalized: {len(chosen.changed)} of {total} of channels{more}")


def _capped(scaling: Scaling, chosen: Chosen) -> int:
    """How many classes behind a cap have another scale now."""
    behind = np.zeros(scaling.classes, np.bool_)
    for cap in scaling.caps:
        behind[scaling.classes_of(cap.tensor)] = True
    return int(np.count_nonzero(behind & (chosen.scales != 1)))


def _difference(before: Graph, after: Graph, arrays: Batch, pool: running.Pool) -> float:
    runners = [running.Runner(graph, graph.outputs, pool) for graph in (before, after)]
    rows, worst = min(map(rows_alive, (before, after))), 0.0
    for start in range(0, len(arrays[0]), rows):
        given = [array[start : start + rows] for array in arrays]
        one, other = ([item.numpy() for item in runner.outputs(given)] for runner in runners)
        worst = max([worst, *(difference(*pair) for pair in zip(one, other, strict=True))])
    return worst


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


class Halves(NamedTuple):
    """Data divided: what scales and ranges are of, and what judges them. Of too few samples both are all."""

    learnt: Sequence[Batch]
    judged: Sequence[Batch]


def _divided(batches: Sequence[Batch]) -> Halves:
    """One sample of so many is held out, evenly spread."""
    if sum(len(batch[0]) for batch in batches) < _TOO_FEW:
        return Halves(batches, batches)
    whole = [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
    is_judged = np.arange(len(whole[0])) % _HELD_OUT == 0
    return Halves([[array[~is_judged] for array in whole]], [[array[is_judged] for array in whole]])


class _Judge:
    """Simulates a network that is quantized with scales, and compares what it makes before a softmax.

    Args:
        graph: with batch norms folded where they can be.
        scaling: its trace.
        data: samples, some of which outputs are compared on.
        pool: of layers.
    """

    def __init__(self, graph: Graph, scaling: Scaling, data: Sequence[Batch], pool: running.Pool) -> None:
        self._graph, self._scaling = graph, scaling
        self._plan = calibration_points.plan(graph)
        whole, rows = running.evenly(data, _ROWS), rows_alive(self._plan.graph)
        self._some = [[array[start : start + rows] for array in whole] for start in range(0, len(whole[0]), rows)]
        self._runner = running.Runner(self._plan.graph, self._plan.logits, pool)
        self._exact = simulation.outputs(self._runner, self._some)

    def score_db(self, scales: Scales, extents: Extents) -> float:
        """The score of the outputs in int8 (see `simulation.Fidelity`).

        Args:
            scales: of the network's channels.
            extents: without scales, of what `watched` names.
        """
        layers = calibration_points.plan(rescaled(self._graph, self._scaling, scales)).graph.layers
        chosen = self._ranges(scales, extents)
        quantized = simulation.outputs(self._runner, self._some, simulation.rounded(layers), chosen)
        return simulation.fidelity(self._exact, quantized).score_db

    def _ranges(self, scales: Scales, extents: Extents) -> dict[int, Range]:
        """Min-max: channels are divided by their scales, and so are the least and the largest value of each."""
        factors, found = with_fixed(scales), {}
        for point in self._plan.points:
            vector = _vector(self._plan, self._scaling, point)
            low, high = (ends if vector is None else ends / factors[vector] for ends in extents[point])
            found[point] = float(low.min()), float(high.max())
        return {point: nudged(*ends) for point, ends in found.items() if min(ends[0], 0) < max(ends[1], 0)}


def _watched(graph: Graph, scaling: Scaling) -> tuple[Graph, dict[int, int]]:
    """A graph that computes the same and has the tensors that get ranges, and these with the axis of their channels."""
    plan, found = calibration_points.plan(graph), {}
    for point in plan.points:
        axis = scaling.scaled_axis(_like(plan, scaling, point))
        found[point] = len(plan.graph.tensors[point].shape) - 1 if axis is None else axis
    return plan.graph, found


def _vector(plan: calibration_points.Plan, scaling: Scaling, point: int) -> Vector | None:
    """The class of each channel of a point; None where it has no scales."""
    tensor = _like(plan, scaling, point)
    axis = scaling.scaled_axis(tensor)
    return None if axis is None else scaling.axes[tensor][axis]


def _like(plan: calibration_points.Plan, scaling: Scaling, point: int) -> int:
    """A tensor of the traced graph that has the scales of a point: of one before a split activation that behind it."""
    while point not in scaling.axes:
        (point,) = next(call.outputs for call in plan.graph.calls if point in call.inputs)
    return point
