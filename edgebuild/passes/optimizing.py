"""Passes that change weights and keep every layer: trained and held against the guard, or done by the weights alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.passes import lessons
from edgebuild.passes.graph import building, files
from edgebuild.passes.guard import Guard, unscored
from edgebuild.passes.result import written
from edgebuild.passes.training.trainer import Trainer
from edgebuild.units import format_seconds


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


def run(job: CompressJob, method: Method, say: Say) -> Compressed:
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
