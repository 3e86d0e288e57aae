"""The whole of equalization: what is done to a float network before it is made int8, so that int8 loses less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgebuild.errors import StepError
from edgebuild.passes.equalization import absorption, choice, data_free, splitting, trial
from edgebuild.passes.equalization.absorption import rectified
from edgebuild.passes.equalization.choice import Chosen
from edgebuild.passes.equalization.groups import groups
from edgebuild.passes.equalization.judging import Judge, divided, watched
from edgebuild.passes.equalization.preparing import prepare
from edgebuild.passes.equalization.scaling import Scaling, rescaled
from edgebuild.passes.equalization.statistics import Batch, Extents, extents, points, rows_alive, together
from edgebuild.passes.equalization.tracing import trace
from edgebuild.passes.graph import running
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.proof import difference

# Of the outputs' largest value, on the calibration data: as exact as sums of other roundings can be, over many layers
# whose channels lay orders of magnitude apart.
_TOLERANCE = 1e-3
_STRENGTHS = (0.5, 0.75)  # for all groups alike: a choice by one group's error does not see how errors add up
_PROVED_ON = 64  # samples


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
        data = divided(batches)
        learnt = self._extents_of(scaling, data.learnt)
        whole = learnt if data.judged is data.learnt else together(learnt, self._extents_of(scaling, data.judged))
        self._extents = whole
        known = trial.shown(self.graph, data.judged, groups(self.graph, scaling), self._pool)
        judge = Judge(self.graph, scaling, data.judged, self._pool)
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
        self.graph, added = splitting.split(self.graph, self._watched(), share)
        if added:
            self.notes.append(f"split channels that stood out: {_count(added, 'channel')} more")

    def _watched(self) -> Extents:
        """The extents of all tensors that a step looks at, in the graph as it is now."""
        if self._extents is None:
            assert self._batches is not None, "without data nothing can be watched"
            self._extents = self._extents_of(trace(self.graph), self._batches)
        return self._extents

    def _extents_of(self, scaling: Scaling, batches: Sequence[Batch]) -> Extents:
        graph, ranged = watched(self.graph, scaling)
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
