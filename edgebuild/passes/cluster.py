"""Weight sharing, with training where there are train data."""

from __future__ import annotations

from typing import Any

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Cluster
from edgebuild.passes import guard
from edgebuild.passes.optimization import clustering


def run(job: CompressJob, say: Say) -> Compressed:
    """Cluster, and take it back where the validation score fell too far.

    Raises:
        UsageError: a teacher does not fit.
        StepError: the settings name a layer that cannot be clustered, or the train data are too few.
    """
    settings = job.settings
    assert isinstance(settings, Cluster), "the engine sends each pass to its own module"
    method = guard.Method(
        "clustering",
        lambda model, trainer: clustering.cluster(model, settings, trainer),
        lambda model: clustering.cluster_now(model, settings),
        _said,
    )
    return guard.run_guarded(job, method, say)


def _said(model: Any) -> str:
    found = clustering.clusters_of(model)
    if not found:
        return "no kernel is large enough to be clustered"
    return f"different values: {', '.join(f'{name} {number}' for name, number in found.items())}"
