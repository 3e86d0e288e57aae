"""Distillation into another network: one of the user's own, or a narrower copy of the given one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Student
from edgebuild.errors import StepError
from edgebuild.passes import lessons
from edgebuild.passes.carry import graph_of
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.result import written
from edgebuild.passes.surgery.narrowing import narrow
from edgebuild.passes.training.hooks import Hooks
from edgebuild.passes.training.trainer import in_words


def run(job: CompressJob, say: Say) -> Compressed:
    """Teach the student.

    Raises:
        UsageError: the student or a teacher cannot be found.
        StepError: the student does not fit the network in whose place it comes, or the train data are too few.
    """
    assert isinstance(job.settings, Student), "the engine sends each pass to its own module"
    assert job.lesson is not None, "the engine leaves a student out where there are no train data"
    settings, lesson = job.settings, job.lesson
    graph, original = files.load(Path(job.network)), files.load(Path(job.original))
    if settings.network:
        student = graph_of(settings.network, allow_code=lesson.allow_code)
        _require_fit(student, original, settings.network)
        what = settings.network
    else:
        fresh = lesson.seed if settings.fresh else None
        student = narrow(graph, settings.width, settings.multiple, fresh=fresh)
        what = f"a copy of {settings.width:.0%} of the width"
    trainer = lessons.trainer(lesson, original, say)
    model = building.build(student)
    trainer(model, hooks=Hooks(from_scratch=settings.network != "" or settings.fresh))
    learned = building.learned(student, model)
    score = in_words(trainer.evidence.score(model), lesson.metric)
    standard = in_words(trainer.evidence.score(building.build(original)), lesson.metric)
    said = (
        f"student: {what}, {learned.parameters:,} parameters for {original.parameters:,}; on validation {score}, "
        f"the original {standard}"
    )
    return written(learned, job, [said, *trainer.notes])


def _require_fit(student: Graph, original: Graph, path: str) -> None:
    """The same inputs in the same order, and outputs of the same shapes; raises StepError."""
    inputs, wanted = ([graph.tensors[item.tensor] for item in graph.inputs] for graph in (student, original))
    if [(t.shape[1:], t.dtype) for t in inputs] != [(t.shape[1:], t.dtype) for t in wanted]:
        raise StepError(f"the student {path} takes {_shapes(inputs)}, the network {_shapes(wanted)}")
    outputs, wanted = ([graph.tensors[number] for number in graph.outputs] for graph in (student, original))
    if [t.shape[1:] for t in outputs] != [t.shape[1:] for t in wanted]:
        raise StepError(f"the student {path} gives {_shapes(outputs)}, the network {_shapes(wanted)}")


def _shapes(tensors: list[Any]) -> str:
    return " and ".join(f"{list(tensor.shape[1:])} {tensor.dtype}" for tensor in tensors)
