"""Channel pruning: rounds of surgery and training, each held against the score of the network before all pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Channels
from edgebuild.passes import lessons
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.guard import Guard, unscored
from edgebuild.passes.pass_files import written
from edgebuild.passes.surgery.surgeon import Cut, Surgeon, narrowed
from edgebuild.passes.training.trainer import Trainer
from edgebuild.units import format_seconds, format_share

# How the training is shared out, all of it being 1: trials compare cuts, rounds heal them, each round that did not heal
# gets more, and what is left finishes; the rest of the time goes by while networks are measured and cut.
_TRIAL = 0.06
_BETWEEN = 0.36
_AGAIN = 0.12
_FINAL = 0.28
# To measure, cut and trace a network takes some seconds: a round that has no more time than this heals nothing.
_ROUND_S = 10.0
# Less than this of it finishes nothing.
_LEAST = 0.02
# A trial of fewer steps tells nothing that the loss right after the cut does not.
_FEWEST_STEPS = 20
# Where nothing smaller is to be had a cut gets all that is left, if it lost no more than so many times what it may.
_NOTHING_ELSE = 6.0
# A cut that did not recover is tried again half-way to it, as long as that is worth a training.
_SMALLEST_STEP = 0.95


class _Done(NamedTuple):
    """A network after a round.

    Attributes:
        graph: the network.
        score: on validation.
        dropped: the blocks that were dropped for it, in all rounds.
        model: the same as a tf_keras model, that training goes on with; None for the network before all rounds.
    """

    graph: Graph
    score: float | None
    dropped: tuple[str, ...] = ()
    model: Any = None


class _Candidate(NamedTuple):
    """A cut as a tf_keras model, trained a little where that tells more."""

    cut: Cut
    model: Any


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
        guard = Guard.of(original, job.lesson.max_drop, trainer)
        smaller = pruning.go(guard)
        notes += [*guard.said(), *pruning.notes, *trainer.notes]
        if smaller is graph:
            notes.append(f"channel pruning gained nothing for {format_seconds(trainer.spent_s)} of training")
        else:
            notes += unscored(smaller, building.build(smaller), trainer)
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
        self._surgeon = Surgeon(graph, settings, job.latencies, trainer.evidence)
        self._left = 1.0  # of the training
        self._rounds = settings.rounds
        if not trainer.counts_epochs:
            self._rounds = max(1, min(settings.rounds, int(trainer.time_s / _ROUND_S)))
        self._each = _BETWEEN / self._rounds  # of it for a round
        self.notes: list[str] = []

    def go(self, guard: Guard) -> Graph:
        """Cut as far as the guard allows: in rounds, then half-way to what it did not."""
        rounds = self._rounds
        kept, shares = _Done(self._graph, None), [self._settings.keep ** (n / rounds) for n in range(1, rounds + 1)]
        while shares:
            share, *shares = shares
            left = self._trainer.left
            done = self._round(share, kept, guard)
            if done is None:
                continue
            if not shares and not guard.holds(done.score) and (guard.nearly_holds(done.score) or self._is_last_chance):
                done = self._finished(done)
            if not guard.holds(done.score):
                kept = self._less(share, done, kept, guard)
                break
            kept, shares = done, self._fitting(shares, left - self._trainer.left)
        kept = self._finished(kept)
        self.notes += narrowed(self._graph, kept.graph)
        self.notes += [f"the block up to {name} was dropped" for name in kept.dropped]
        self.notes += [f"{format_share(self._surgeon.share(kept.graph))} of the {self._settings.cost} is left"]
        self.notes += self._surgeon.left_alone
        return kept.graph

    def _less(self, share: float, failed: _Done, kept: _Done, guard: Guard) -> _Done:
        """What there is to be had where a cut did not recover: a smaller one, else this one with all that is left."""
        refusal = guard.refusal(self._called(share), failed.score)
        noted = len(self.notes)
        kept = self._half_way(share, kept, guard)
        if kept.model is None and guard.nearly_holds(failed.score, _NOTHING_ELSE):
            healed = self._finished(failed)
            if guard.holds(healed.score):
                return healed
        self.notes.insert(noted, refusal)
        return kept

    def _half_way(self, failed: float, kept: _Done, guard: Guard) -> _Done:
        """The smallest network between one that the guard holds for and a share of the cost at which it does not."""
        tried = "no smaller step"
        while self._remaining > _FINAL:
            share = math.sqrt(failed * self._surgeon.share(kept.graph))
            if share > _SMALLEST_STEP * self._surgeon.share(kept.graph):
                break
            done, tried = self._round(share, kept, guard), "no further step"
            if done is None:
                break
            if guard.holds(done.score):
                kept = done
            else:
                failed = share
        else:
            self.notes.append(f"{tried} was tried: [train] time is over; give more (--time)")
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
        self._each *= len(shares) / number
        return [shares[len(shares) * (place + 1) // number - 1] for place in range(number)]

    def _called(self, share: float) -> str:
        return f"the cut to {format_share(share)} of the {self._settings.cost}"

    def _round(self, share: float, before: _Done, guard: Guard) -> _Done | None:
        """Cut and train; None where the network is as small as that already."""
        cuts = self._surgeon.cuts(before.graph, share)
        if not cuts:
            return None
        cut, model = self._chosen([_Candidate(cut, building.build(cut.graph)) for cut in cuts])
        new = _Done(cut.graph, None, (*before.dropped, *cut.dropped), model)
        done = self._trained(new, self._taken(self._each))
        if not guard.holds(done.score) and self._remaining > _FINAL:
            # What a short training did not heal a longer one may.
            done = self._trained(done, self._taken(_AGAIN))
        verdict = "kept" if guard.holds(done.score) else "reverted"
        self._say(f"{self._called(share)}: {guard.comparison(done.score)}: {verdict}")
        return done

    def _chosen(self, candidates: Sequence[_Candidate]) -> _Candidate:
        """The one that recovers best: each is trained a little, where there is time for more than a few steps."""
        if len(candidates) == 1:
            return candidates[0]
        part = _TRIAL / self._rounds / len(candidates)
        if self._trainer.expected_steps(part) >= _FEWEST_STEPS:
            for candidate in candidates:
                self._trainer(candidate.model, part=self._taken(part))
        return min(candidates, key=lambda candidate: self._trainer.evidence.loss(candidate.model))

    def _taken(self, part: float) -> float:
        """As much of the training as is wanted, and as there is beside what finishes."""
        taken = max(0.0, min(part, self._remaining - _FINAL))
        self._left -= taken
        return taken

    @property
    def _is_last_chance(self) -> bool:
        """Whether there is no time to try a smaller step beside what finishes."""
        spare_s = (self._trainer.left - _FINAL) * self._trainer.time_s
        return not self._trainer.counts_epochs and spare_s < _ROUND_S

    @property
    def _remaining(self) -> float:
        """What is left of the training: of its time, unless it is counted in epochs, which time only ends."""
        if not self._trainer.counts_epochs:
            return self._trainer.left
        return self._left if self._trainer.left > _FINAL else min(self._left, _FINAL)

    def _finished(self, done: _Done) -> _Done:
        """Trained for as long as is left."""
        part = self._remaining
        if done.model is None or part < _LEAST:
            return done
        self._left = 0.0
        return self._trained(done, part)

    def _trained(self, done: _Done, part: float) -> _Done:
        self._trainer(done.model, part=part)
        graph = building.learned(done.graph, done.model)
        return done._replace(graph=graph, score=self._trainer.evidence.standing(done.model))
