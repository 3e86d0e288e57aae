"""Channel pruning: rounds of surgery and training, each held against the score of the network before all pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgebuild.child import Say
from edgebuild.core.passes import Channels
from edgebuild.passes import lessons
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.guard import Guard
from edgebuild.passes.jobs import Compressed, CompressJob
from edgebuild.passes.result import written
from edgebuild.passes.surgery.surgeon import Cut, Surgeon, narrowed
from edgebuild.passes.training.trainer import Trainer, in_words
from edgebuild.units import format_share

# How the training is shared out, all of it being 1: trials compare cuts, rounds heal them, each round that did not heal
# gets more, and what is left finishes.
_TRIAL = 0.08
_BETWEEN = 0.28
_AGAIN = 0.1
_FINAL = 0.24
# A trial of fewer steps tells nothing that the loss right after the cut does not.
_FEWEST_STEPS = 20
# A cut that did not recover is tried again half-way to it, as long as that is worth a training.
_SMALLEST_STEP = 0.95


class _Done(NamedTuple):
    """A network after a round.

    Attributes:
        graph: the network.
        score: on validation.
        dropped: the blocks that were dropped for it, in all rounds.
    """

    graph: Graph
    score: float | None
    dropped: tuple[str, ...] = ()


def run(job: CompressJob, say: Say) -> Compressed:
    """Prune to the goal, or as far as the validation score allows.

    Raises:
        UsageError: a layer to be excluded does not exist, or a teacher does not fit.
        StepError: the train data are too few, or a teacher failed.
    """
    assert isinstance(job.settings, Channels), "the engine sends each pass to its own module"
    graph, original = files.load(Path(job.network)), files.load(Path(job.original))
    notes: list[str] = []
    if job.lesson is None:
        smaller = _untrained(graph, job, job.settings, notes)
    else:
        trainer = lessons.trainer(job.lesson, original, say)
        pruning = _Pruning(job, job.settings, graph, trainer, say)
        guard = Guard.of(original, job.settings.max_drop, trainer)
        smaller = pruning.go(guard)
        notes += [*guard.said(), *pruning.notes, *trainer.notes]
    return written(smaller, job, notes)


def _untrained(graph: Graph, job: CompressJob, settings: Channels, notes: list[str]) -> Graph:
    """One cut by what the weights tell alone."""
    surgeon = Surgeon(graph, settings, job.latencies, None)
    cuts = surgeon.cuts(graph, settings.keep)
    notes += [*(narrowed(graph, cuts[0].graph) if cuts else ()), *surgeon.left_alone]
    notes.append("channels were removed by their weights alone, and nothing was trained: there are no train data")
    return cuts[0].graph if cuts else graph


class _Pruning:
    """Rounds of cutting and training, from one network."""

    def __init__(self, job: CompressJob, settings: Channels, graph: Graph, trainer: Trainer, say: Say) -> None:
        self._settings, self._graph = settings, graph
        self._trainer, self._say = trainer, say
        self._surgeon = Surgeon(graph, settings, job.latencies, trainer)
        self._left = 1.0  # of the training
        self.notes: list[str] = []

    def go(self, guard: Guard) -> Graph:
        """Cut as far as the guard allows: in rounds, then half-way to what it did not."""
        rounds = self._settings.rounds
        kept, shares = _Done(self._graph, None), [self._settings.keep ** (n / rounds) for n in range(1, rounds + 1)]
        while shares:
            share, *shares = shares
            left = self._trainer.left
            done = self._round(share, kept, guard)
            if done is None:
                continue
            if not guard.holds(done.score):
                self.notes.append(guard.refusal(self._called(share), done.score))
                kept = self._half_way(share, kept, guard)
                break
            kept, shares = done, self._fitting(shares, left - self._trainer.left)
        if kept.graph is not self._graph:
            kept = self._trained(Cut(kept.graph, kept.dropped), self._left)
        self.notes += narrowed(self._graph, kept.graph)
        self.notes += [f"the block up to {name} was dropped" for name in kept.dropped]
        self.notes += [f"{format_share(self._surgeon.share(kept.graph))} of the {self._settings.cost} is left"]
        self.notes += self._surgeon.left_alone
        return kept.graph

    def _half_way(self, failed: float, kept: _Done, guard: Guard) -> _Done:
        """The smallest network between one that the guard holds for and a share of the cost at which it does not."""
        while self._left > _FINAL:
            if self._trainer.left <= _FINAL:
                self.notes.append("no smaller step was tried: [train] time is over; give more (--time)")
                break
            share = math.sqrt(failed * self._surgeon.share(kept.graph))
            if share > _SMALLEST_STEP * self._surgeon.share(kept.graph):
                break
            done = self._round(share, kept, guard)
            if done is None:
                break
            if guard.holds(done.score):
                kept = done
            else:
                failed = share
        return kept

    def _fitting(self, shares: list[float], took: float) -> list[float]:
        """The rounds that are left, fewer and larger ones where one takes so much of the time."""
        fitting = int((self._trainer.left - _FINAL) / took) if took > 0 else len(shares)
        if not shares or fitting >= len(shares):
            return shares
        number = max(1, fitting)
        self.notes.append(
            f"rounds were made larger, since each took {format_share(took)} of [train] time: {number} for what "
            f"{len(shares)} were to do; give more (--time) for a better network"
        )
        return [shares[len(shares) * (place + 1) // number - 1] for place in range(number)]

    def _called(self, share: float) -> str:
        return f"the cut to {format_share(share)} of the {self._settings.cost}"

    def _round(self, share: float, before: _Done, guard: Guard) -> _Done | None:
        """Cut and train; None where the network is as small as that already."""
        cuts = self._surgeon.cuts(before.graph, share)
        if not cuts:
            return None
        chosen = self._chosen(cuts)
        chosen = chosen._replace(dropped=(*before.dropped, *chosen.dropped))
        done = self._trained(chosen, self._taken(_BETWEEN / self._settings.rounds))
        if not guard.holds(done.score) and self._left > _FINAL and self._trainer.left > _FINAL:
            # What a short training did not heal a longer one may.
            done = self._trained(Cut(done.graph, done.dropped), self._taken(_AGAIN))
        found = in_words(done.score, self._trainer.metric)
        self._say(
            f"{self._called(share)}: {found} on validation, {'kept' if guard.holds(done.score) else 'taken back'}"
        )
        return done

    def _chosen(self, cuts: Sequence[Cut]) -> Cut:
        """The cut that recovers best: each is trained a little, where there is time for more than a few steps."""
        if len(cuts) == 1:
            return cuts[0]
        part = _TRIAL / self._settings.rounds / len(cuts)
        trains = self._trainer.steps(part) >= _FEWEST_STEPS
        tried = []
        for cut in cuts:
            model = building.build(cut.graph)
            if trains:
                self._trainer(model, part=self._taken(part))
            tried.append((self._trainer.loss(model), Cut(building.learned(cut.graph, model), cut.dropped)))
        return min(tried, key=lambda item: item[0])[1]

    def _taken(self, part: float) -> float:
        """As much of the training as is wanted, and as there is beside what finishes."""
        taken = max(0.0, min(part, self._left - _FINAL))
        self._left -= taken
        return taken

    def _trained(self, cut: Cut, part: float) -> _Done:
        model = building.build(cut.graph)
        self._trainer(model, part=part)
        return _Done(building.learned(cut.graph, model), self._trainer.score(model), cut.dropped)
