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
from edgebuild.passes.jobs import NETWORK, Compressed, CompressJob
from edgebuild.passes.surgery.surgeon import Cut, Surgeon, narrowed
from edgebuild.passes.training.trainer import Trainer, in_words
from edgebuild.units import format_share

# How the training is shared out: trials compare cuts, rounds heal them, the last one finishes.
_TRIAL = 0.1
_BETWEEN = 0.4
_FINAL = 0.5


class _Done(NamedTuple):
    """A network that was accepted, and its validation score."""

    graph: Graph
    score: float | None


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
        pruning = _Pruning(job, job.settings, trainer, say)
        smaller = pruning.go(graph, original)
        notes += [*pruning.notes, *trainer.notes]
    files.save(smaller, Path(job.out) / NETWORK)
    return Compressed(
        identity_sha256=smaller.identity(),
        parameters=smaller.parameters,
        notes=tuple(notes),
    )


def _untrained(graph: Graph, job: CompressJob, settings: Channels, notes: list[str]) -> Graph:
    """One cut by what the weights tell alone."""
    surgeon = Surgeon(graph, settings, job.latencies, None)
    cuts = surgeon.cuts(graph, settings.keep)
    notes += [*(narrowed(graph, cuts[0].graph) if cuts else ()), *surgeon.left_alone]
    notes.append("channels were removed by their weights alone, and nothing was trained: there are no train data")
    return cuts[0].graph if cuts else graph


class _Pruning:
    """Rounds of cutting and training."""

    def __init__(self, job: CompressJob, settings: Channels, trainer: Trainer, say: Say) -> None:
        self._job, self._settings = job, settings
        self._trainer, self._say = trainer, say
        self.notes: list[str] = []

    def go(self, graph: Graph, original: Graph) -> Graph:
        settings = self._settings
        surgeon = Surgeon(graph, settings, self._job.latencies, self._trainer)
        guard = Guard.of(original, settings.max_drop, self._trainer)
        current, dropped, finished = graph, list[str](), True
        for number in range(1, settings.rounds + 1):
            cuts = surgeon.cuts(current, settings.keep ** (number / settings.rounds))
            if not cuts:
                continue
            finished = number == settings.rounds
            chosen = self._chosen(cuts)
            done = self._trained(chosen.graph, _FINAL if finished else _BETWEEN / settings.rounds)
            if not finished and not guard.holds(done.score):
                # What a short training did not heal the full one may.
                done, finished = self._trained(done.graph, _FINAL), True
            self._say(
                f"round {number} of {settings.rounds}: {in_words(done.score, self._trainer.metric)} on validation"
            )
            if not guard.holds(done.score):
                self.notes.append(guard.refusal(f"round {number} of {settings.rounds}", done.score))
                finished = False
                break
            current = done.graph
            dropped += chosen.dropped
            if finished:
                if number < settings.rounds:
                    self.notes.append(f"stopped after round {number} of {settings.rounds}: it only just recovered")
                break
        if current is not graph and not finished:
            current = self._trained(current, _FINAL).graph
        self.notes += [*narrowed(graph, current), *(f"the block up to {name} was dropped" for name in dropped)]
        self.notes += [f"{format_share(surgeon.share(current))} of the {settings.cost} is left", *surgeon.left_alone]
        return current

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

    def _trained(self, graph: Graph, part: float) -> _Done:
        model = building.build(graph)
        self._trainer(model, part=part)
        return _Done(building.learned(graph, model), self._trainer.score(model))
