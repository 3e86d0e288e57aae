"""What a pass leaves behind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.actions.networks import NETWORK
from edgebuild.passes.freeze import freeze
from edgebuild.passes.graph import files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.loading import Network


def written(graph: Graph, job: CompressJob, notes: Iterable[str]) -> Compressed:
    """Write the network of a pass, and answer its job.

    Raises:
        StepError: the network cannot be written.
    """
    files.save(graph, Path(job.out) / NETWORK)
    return Compressed(identity_sha256=graph.identity(), parameters=graph.parameters, notes=tuple(notes))


def with_ranges(network: Network, graph: Graph, job: CompressJob, notes: Iterable[str]) -> Compressed:
    """Write a network whose nodes carry ranges, as a SavedModel for the converter; `graph` is what it was made from.

    Raises:
        StepError: the network cannot be called with static shapes.
    """
    frozen = freeze(network, Path(job.out), name=graph.name, recurrent=job.recurrent, only_for_converter=True)
    return Compressed(
        identity_sha256=frozen.identity_sha256, parameters=graph.parameters, notes=tuple(notes), frozen=frozen
    )
