"""Distillation into another network: one of the user's own, or a narrower copy of the given one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Student
from edgebuild.errors import StepError
from edgebuild.passes import lessons
from edgebuild.passes.carry import graph_of
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph, Layer
from edgebuild.passes.pass_files import written
from edgebuild.passes.surgery.channels import Group
from edgebuild.passes.surgery.cutting import cut
from edgebuild.passes.surgery.importance import Importance, magnitude
from edgebuild.passes.surgery.tracing import trace
from edgebuild.passes.training.loop import Hooks
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


def narrow(
    graph: Graph, width: float, multiple: int = 8, *, fresh: int | None = None, importance: Importance | None = None
) -> Graph:
    """A network in which each group of channels is down to a share of its width.

    Args:
        graph: the network.
        width: the share, over 0 and at most 1.
        multiple: counts are rounded to multiples of it; groups that have no more than that stay.
        fresh: a seed: weights are drawn anew by the initializers of their layers, for training from scratch. Without
            it the most important channels keep theirs.
        importance: by channel class of `trace(graph)`; L2 norms by default.

    Raises:
        ValueError: the width or the multiple is out of range.
    """
    if not 0 < width <= 1 or multiple < 1:
        raise ValueError(f"width={width}, multiple={multiple}: out of range")
    channels = trace(graph)
    ranks = magnitude(graph, channels, 2) if importance is None else importance
    removed = [item for group in channels.groups for item in _least(group, ranks, width, multiple)]
    narrower = cut(graph, channels, removed)
    return narrower if fresh is None else initialized(narrower, fresh)


def _least(group: Group, ranks: Importance, width: float, multiple: int) -> list[int]:
    """The least important classes of a group, as many as it has too many."""
    step, count = group.step(multiple), len(group.classes)
    kept = min(count, max(1, round(width * count / step)) * step)
    return sorted(group.classes, key=lambda item: (ranks[item], item))[: count - kept]


def initialized(graph: Graph, seed: int) -> Graph:
    """The network with weights as new from their layers' initializers; layers without any keep theirs.

    The same seed gives the same weights; the random state of the process stays as it is.
    """
    layers = {name: _seeded(layer, seed) for name, layer in graph.layers.items()}
    drawn = building.build(graph._replace(layers=layers))
    return building.learned(graph, drawn)


def _seeded(layer: Layer, seed: int) -> Layer:
    """A layer that is built with weights of its own seed; one without initializers as it is."""
    if not _has_initializers(layer.config):
        return layer
    return layer._replace(config=_with_seeds(layer.config, f"{seed}/{layer.name}"), weights={})


def _has_initializers(config: Mapping[str, Any]) -> bool:
    inner = config.get("layer")
    return any(key.endswith("_initializer") for key in config) or (
        isinstance(inner, Mapping) and _has_initializers(inner.get("config", {}))
    )


def _with_seeds(config: Mapping[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith("_initializer") and isinstance(value, Mapping):
            seeded = {**value.get("config", {}), "seed": zlib.crc32(f"{place}/{key}".encode())}
            found[key] = {**value, "config": seeded} if "seed" in value.get("config", {}) else value
        elif isinstance(value, Mapping) and "class_name" in value:  # the layer inside a wrapper
            found[key] = {**value, "config": _with_seeds(value.get("config", {}), f"{place}/{key}")}
        else:
            found[key] = value
    return found
