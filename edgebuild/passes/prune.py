"""Weight pruning, with training where there are train data."""

from __future__ import annotations

from typing import Any

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Allocation, Prune
from edgebuild.passes import guard
from edgebuild.passes.optimization import kernels, sparsity
from edgebuild.passes.training.trainer import Trainer


def run(job: CompressJob, say: Say) -> Compressed:
    """Prune, and take it back where the validation score fell too far.

    Raises:
        UsageError: a teacher does not fit.
        StepError: the settings name a layer that cannot be pruned, or the train data are too few.
    """
    settings = job.settings
    assert isinstance(settings, Prune), "the engine sends each pass to its own module"

    def trained(model: Any, trainer: Trainer) -> Any:
        planned = None
        if settings.allocation == Allocation.SENSITIVITY:
            say("measuring what each layer can bear")
            planned = sparsity.allocate(model, settings, trainer.evidence.loss)
        return sparsity.prune(model, settings, trainer, planned)

    method = guard.Method(
        "weight pruning",
        trained,
        lambda model: sparsity.prune_now(model, settings),
        lambda model: _said(model, settings),
    )
    return guard.run_guarded(job, method, say)


def _said(model: Any, settings: Prune) -> str:
    found = {name: 1 - mask.mean() for name, mask in kernels.masks_of(model).items()}
    if not found:
        return "no kernel is large enough to be pruned (smallest, first and last say which)"
    zeros = f"zeros: {', '.join(f'{name} {share:.0%}' for name, share in found.items())}"
    if settings.zeros != settings.sparsity:
        return f"{zeros}; the pattern {settings.pattern} makes {settings.zeros:.0%}, whatever sparsity says"
    return zeros
