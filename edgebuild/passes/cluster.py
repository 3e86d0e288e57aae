"""Weight sharing, with training where there are train data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebuild.child import Say
from edgebuild.core.passes import Cluster
from edgebuild.passes import lessons
from edgebuild.passes.graph import building, files
from edgebuild.passes.guard import Guard
from edgebuild.passes.jobs import NETWORK, Compressed, CompressJob
from edgebuild.passes.optimization import clustering


def run(job: CompressJob, say: Say) -> Compressed:
    """Cluster, and take it back where the validation score fell too far.

    Raises:
        UsageError: a teacher does not fit.
        StepError: the settings name a layer that cannot be clustered, or the train data are too few.
    """
    assert isinstance(job.settings, Cluster), "the engine sends each pass to its own module"
    graph = files.load(Path(job.network))
    model = building.build(graph)
    if job.lesson is None:
        clustered = clustering.cluster_now(model, job.settings)
        taken, notes = True, [_said(clustered), "nothing was trained after clustering: there are no train data"]
    else:
        original = files.load(Path(job.original))
        trainer = lessons.trainer(job.lesson, original, say)
        guard = Guard.of(original, job.settings.max_drop, trainer)
        clustered = clustering.cluster(model, job.settings, trainer)
        score = trainer.score(clustered)
        taken = guard.holds(score)
        notes = [_said(clustered) if taken else guard.refusal("clustering", score), *trainer.notes]
    shared = building.learned(graph, clustered) if taken else graph
    files.save(shared, Path(job.out) / NETWORK)
    return Compressed(identity_sha256=shared.identity(), parameters=shared.parameters, notes=tuple(notes))


def _said(model: Any) -> str:
    found = clustering.clusters_of(model)
    if not found:
        return "no kernel is large enough to be clustered"
    return f"different values: {', '.join(f'{name} {number}' for name, number in found.items())}"
