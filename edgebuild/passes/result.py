"""What a pass leaves behind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgebuild.passes.graph import files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.jobs import NETWORK, Compressed, CompressJob


def written(graph: Graph, job: CompressJob, notes: Iterable[str]) -> Compressed:
    """Write the network of a pass, and answer its job.

    Raises:
        StepError: the network cannot be written.
    """
    files.save(graph, Path(job.out) / NETWORK)
    return Compressed(identity_sha256=graph.identity(), parameters=graph.parameters, notes=tuple(notes))
