"""Channels made alike, so that int8 loses less; the float network computes the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Equalize
from edgebuild.passes import observing
from edgebuild.passes.equalization.equalizing import equalize
from edgebuild.passes.graph import files
from edgebuild.passes.result import written


def run(job: CompressJob, say: Say) -> Compressed:
    """Equalize.

    Raises:
        StepError: the network cannot be run layer by layer, or would compute something else.
    """
    assert isinstance(job.settings, Equalize), "the engine sends each pass to its own module"
    settings, graph = job.settings, files.load(Path(job.network))
    say("comparing channels")
    done = equalize(
        graph,
        observing.batches(job, graph),
        fold=settings.fold,
        scales=settings.scales,
        absorb_biases=settings.absorb,
        split_share=settings.split,
    )
    return msgspec.structs.replace(written(done.graph, job, done.notes), instead=dict(done.instead))
