"""What a pass may cost: its network is taken only where the score holds on samples that it did not learn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.actions.compression import Compressed, CompressJob, Unseen
from edgebuild.child import Say
from edgebuild.core.metric import Metric
from edgebuild.passes import lessons
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.pass_files import written
from edgebuild.passes.training.trainer import Trainer, in_words
from edgebuild.units import format_seconds, format_share

# How many standard errors a score on validation lies above that on unseen samples where these were learnt.
_BY_HEART = 1.0
# The same for errors, whose spread is not known: as a share of the error.
_BY_HEART_SHARE = 0.1
_MOST_ALLOWED = 2.0
# Up to so many times the drop that is allowed a training may still make up for.
_NEAR = 2.0


class Guard(NamedTuple):
    """What smaller networks are compared with.

    Attributes:
        standard: the score of the network before all compression; None where nothing is known of it.
        max_drop: how far a smaller one may fall below it; without labels the error of its outputs, as a share of the
            energy of the original's.
        metric: of both.
        samples: of the validation part, that smaller networks are scored on; 0 for not known.
        learnt: what the network before all compression scores on them, where it knows them by heart: the standard is
            its score on samples that it never saw then.
        by_outputs: whether there are no labels, and outputs are compared with the original's.
    """

    standard: float | None
    max_drop: float
    metric: Metric
    samples: int = 0
    learnt: float | None = None
    by_outputs: bool = False

    @classmethod
    def of(cls, original: Graph, max_drop: float, trainer: Trainer) -> Guard:
        """The guard that a network sets up for its successors.

        The validation part is of the train split, which the original has most likely learnt: where it scores more on it
        than on evaluation samples, it is that score that a network which did not learn them is compared with. Only the
        original's own score is taken from there: nothing is chosen by evaluation samples.
        """
        found, samples = trainer.evidence.score(building.build(original)), trainer.validation_samples
        if found is None:
            return cls(0.0, max_drop, trainer.metric, by_outputs=True)
        unseen = trainer.unseen
        if unseen is None or not _is_learnt(found, samples, unseen, trainer.metric):
            return cls(found, max_drop, trainer.metric, samples)
        return cls(unseen.score, max_drop, trainer.metric, samples, found)

    def holds(self, score: float | None) -> bool:
        """Whether a score is good enough; one that gives no numbers never is.

        A drop of up to twice as much that is within a standard error of the score is none: but few samples, whose
        error is large, must not let everything pass.
        """
        if score is None or self.standard is None:
            return True
        return self._lost(score) <= self._limit(score)

    def nearly_holds(self, score: float | None, times: float = _NEAR) -> bool:
        """Whether a longer training may yet make a score good enough: it lost so many times what it may at most."""
        if score is None or self.standard is None:
            return True
        return self._lost(score) <= times * self._limit(score)

    def _lost(self, score: float) -> float:
        assert self.standard is not None, "nothing is lost where nothing is known"
        return score if self.by_outputs else drop(self.standard, score, self.metric)

    def _limit(self, score: float) -> float:
        if self.by_outputs:
            return self.max_drop
        return max(self.max_drop, min(self._error(score), _MOST_ALLOWED * self.max_drop))

    def _error(self, score: float) -> float:
        return _standard_error(score, self.samples) if self.metric.is_share and self.samples else 0.0

    def comparison(self, score: float | None) -> str:
        """A score beside what it is compared with, for people."""
        if self.by_outputs and score is not None and not math.isnan(score):
            return f"error of the outputs {format_share(score)}, limit {format_share(self.max_drop)}"
        now = f"validation {in_words(score, self.metric)}"
        if score is None or self.standard is None:
            return now
        where = "" if self.learnt is None else " (on evaluation samples)"
        limit = self._amount(self._limit(score))
        return f"{now}, original {self._value(self.standard)}{where}, limit {limit}"

    def refusal(self, what: str, score: float | None) -> str:
        """Why something was reverted, for people."""
        if score is None or self.standard is None or math.isnan(score):
            return f"reverted {what}: {self.comparison(score)}"
        if self.by_outputs:
            return (
                f"reverted {what}: there are no labels, and outputs differ from the original's by "
                f"{format_share(score)} of their energy (limit {format_share(self.max_drop)}; "
                "give y_train for a limit on the score)"
            )
        lost = drop(self.standard, score, self.metric)
        direction = "rose" if self.metric.less_is_more else "fell"
        return (
            f"reverted {what}: validation {self.metric.label} {direction} by {self._amount(lost)} "
            f"(limit {self._amount(self._limit(score))}), from {self._value(self.standard)} to {self._value(score)}"
        )

    def _value(self, score: float) -> str:
        return format_share(score) if self.metric.is_share else f"{score:.4g}"

    def _amount(self, lost: float) -> str:
        return f"{100 * lost:.1f} points" if self.metric.is_share else format_share(lost)

    def said(self) -> tuple[str, ...]:
        """What is to be known of the standard, for people."""
        if self.learnt is None:
            return ()
        learnt, unseen = (in_words(value, self.metric) for value in (self.learnt, self.standard))
        return (
            f"the original has most likely learnt the validation samples ({learnt}; {unseen} on evaluation samples): "
            f"smaller networks are compared with its score on evaluation samples",
        )


def unscored(graph: Graph, model: Any, trainer: Trainer) -> tuple[str, ...]:
    """What a pass cost the outputs that no score looks at, and that no limit therefore keeps, for people."""
    producers = graph.producers()
    return tuple(
        f"output {producers[graph.outputs[position]].layer} is not scored: it differs from the original's by "
        f"{format_share(error)} of its energy (validation samples)"
        for position, error in trainer.evidence.unscored(model).items()
        if graph.outputs[position] in producers
    )


def drop(before: float, after: float, metric: Metric) -> float:
    """How much of a score was lost: points of a share, else a share of the score before."""
    lost = after - before if metric.less_is_more else before - after
    return lost if metric.is_share or before == 0 else lost / abs(before)


def _is_learnt(found: float, samples: int, unseen: Unseen, metric: Metric) -> bool:
    """Whether validation samples are so much easier than unseen ones that they must have been learnt."""
    easier = drop(found, unseen.score, metric)
    if not metric.is_share:
        return easier > _BY_HEART_SHARE
    error = math.hypot(_standard_error(unseen.score, samples), _standard_error(unseen.score, unseen.samples))
    return easier > _BY_HEART * error


def _standard_error(share: float, samples: int) -> float:
    """Of a share of samples, by the binomial distribution; at least half a sample, which no share resolves."""
    if not samples:
        return math.inf
    return max(math.sqrt(max(0.0, share * (1 - share)) / samples), 0.5 / samples)


class Method(NamedTuple):
    """A way to change the weights of a tf_keras model.

    Attributes:
        name: for people.
        trained: takes a model and a trainer and returns a changed one.
        untrained: likewise, by the weights alone.
        said: what became of a changed model, for people.
    """

    name: str
    trained: Callable[[Any, Trainer], Any]
    untrained: Callable[[Any], Any]
    said: Callable[[Any], str]


def run_guarded(job: CompressJob, method: Method, say: Say) -> Compressed:
    """Change the network, and revert it where the validation score fell by more than the lesson allows.

    Raises:
        UsageError: a teacher does not fit.
        StepError: the settings name a layer that cannot be changed, or the train data are too few.
    """
    graph = files.load(Path(job.network))
    model = building.build(graph)
    if job.lesson is None:
        changed = method.untrained(model)
        notes = [method.said(changed), f"nothing was trained after {method.name}: there are no train data"]
        return written(building.learned(graph, changed), job, notes)
    original = files.load(Path(job.original))
    trainer = lessons.trainer(job.lesson, original, say)
    guard = Guard.of(original, job.lesson.max_drop, trainer)
    changed = method.trained(model, trainer)
    score = trainer.evidence.standing(changed)
    if guard.holds(score):
        said = [*guard.said(), method.said(changed), *unscored(graph, changed, trainer), *trainer.notes]
        return written(building.learned(graph, changed), job, said)
    nothing = f"{method.name} gained nothing for {format_seconds(trainer.spent_s)} of training"
    return written(graph, job, [*guard.said(), guard.refusal(method.name, score), nothing, *trainer.notes])
