"""Channel pruning: rounds of surgery and training, each held against the score of the network before all pruning."""

from __future__ import annotations

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

# How the training is shared out: trials compare cuts, rounds heal them, the last one finishes.
_TRIAL = 0.1
_BETWEEN = 0.4
_FINAL = 0.5


class _Done(NamedTuple):
    """A network after a round.

    Attributes:
        graph: the network.
        score: on validation.
        dropped: the blocks that were dropped for it, in all rounds.
        full: whether it had the training that finishes.
    """

    graph: Graph
    score: float | None
    dropped: tuple[str, ...] = ()
    full: bool = False


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
        smaller = pruning.go(Guard.of(original, job.settings.max_drop, trainer))
        notes += [*pruning.notes, *trainer.notes]
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
        self.notes: list[str] = []

    def go(self, guard: Guard) -> Graph:
        settings, surgeon = self._settings, self._surgeon
        kept = _Done(self._graph, None, full=True)
        for number in range(1, settings.rounds + 1):
            done = self._round(number, kept, guard)
            if done is None:
                continue
            if not guard.holds(done.score):
                self.notes.append(guard.refusal(f"round {number} of {settings.rounds}", done.score))
                break
            kept = done
            if kept.full:
                if number < settings.rounds:
                    self.notes.append(f"stopped after round {number} of {settings.rounds}: it only just recovered")
                break
        if not kept.full:
            kept = self._trained(Cut(kept.graph, kept.dropped), full=True)
        self.notes += narrowed(self._graph, kept.graph)
        self.notes += [f"the block up to {name} was dropped" for name in kept.dropped]
        self.notes += [f"{format_share(surgeon.share(kept.graph))} of the {settings.cost} is left"]
        self.notes += surgeon.left_alone
        return kept.graph

    def _round(self, number: int, before: _Done, guard: Guard) -> _Done | None:
        """Cut and train; None where the network is small enough for the round already."""
        rounds = self._settings.rounds
        cuts = self._surgeon.cuts(before.graph, self._settings.keep ** (number / rounds))
        if not cuts:
            return None
        chosen = self._chosen(cuts)
        chosen = chosen._replace(dropped=(*before.dropped, *chosen.dropped))
        done = self._trained(chosen, full=number == rounds)
        if not done.full and not guard.holds(done.score):
            # What a short training did not heal the full one may.
            done = self._trained(Cut(done.graph, done.dropped), full=True)
        self._say(f"round {number} of {rounds}: {in_words(done.score, self._trainer.metric)} on validation")
        return done

    def _chosen(self, cuts: Sequence[Cut]) -> Cut:
        """The cut that recovers best: each is trained for a little while."""
        if len(cuts) == 1:
            return cuts[0]
        tried = []
        for cut in cuts:
            model = building.build(cut.graph)
            self._trainer(model, part=_TRIAL / self._settings.rounds)
            tried.append((self._trainer.loss(model), Cut(building.learned(cut.graph, model), cut.dropped)))
        return min(tried, key=lambda item: item[0])[1]

    def _trained(self, cut: Cut, *, full: bool) -> _Done:
        model = building.build(cut.graph)
        self._trainer(model, part=_FINAL if full else _BETWEEN / self._settings.rounds)
        return _Done(building.learned(cut.graph, model), self._trainer.score(model), cut.dropped, full)
