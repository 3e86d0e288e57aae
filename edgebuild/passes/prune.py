"""Weight pruning, with training where there are train data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebuild.child import Say
from edgebuild.core.passes import Allocation, Prune
from edgebuild.passes import lessons
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.guard import Guard
from edgebuild.passes.jobs import NETWORK, Compressed, CompressJob
from edgebuild.passes.optimization import masks, sensitivity, sparsity


def run(job: CompressJob, say: Say) -> Compressed:
    """Prune, and take it back where the validation score fell too far.

    Raises:
        UsageError: a teacher does not fit.
        StepError: the settings name a layer that cannot be pruned, or the train data are too few.
    """
    assert isinstance(job.settings, Prune), "the engine sends each pass to its own module"
    graph = files.load(Path(job.network))
    model = building.build(graph)
    if job.lesson is None:
        pruned = sparsity.prune_now(model, job.settings)
        notes = [_said(pruned), "nothing was trained after pruning: there are no train data"]
    else:
        pruned, notes = _trained(job, job.settings, graph, say)
    sparse = building.learned(graph, pruned) if pruned is not None else graph
    files.save(sparse, Path(job.out) / NETWORK)
    return Compressed(identity_sha256=sparse.identity(), parameters=sparse.parameters, notes=tuple(notes))


def _trained(job: CompressJob, settings: Prune, graph: Graph, say: Say) -> tuple[Any, list[str]]:
    """The pruned model, None where it lost too much; and what is to be said."""
    assert job.lesson is not None
    original = files.load(Path(job.original))
    trainer = lessons.trainer(job.lesson, original, say)
    guard = Guard.of(original, settings.max_drop, trainer)
    model = building.build(graph)
    planned = None
    if settings.allocation == Allocation.SENSITIVITY:
        say("measuring what each layer can bear")
        planned = sensitivity.allocate(model, settings, trainer.loss)
    pruned = sparsity.prune(model, settings, trainer, planned)
    score = trainer.score(pruned)
    if guard.holds(score):
        return pruned, [_said(pruned), *trainer.notes]
    return None, [guard.refusal("weight pruning", score), *trainer.notes]


def _said(model: Any) -> str:
    found = {name: 1 - mask.mean() for name, mask in masks.masks_of(model).items()}
    if not found:
        return "no kernel is large enough to be pruned (smallest, first and last say which)"
    return f"zeros: {', '.join(f'{name} {share:.0%}' for name, share in found.items())}"
