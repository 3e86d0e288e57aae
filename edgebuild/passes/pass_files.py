"""What a pass reads and leaves behind: the calibration split, and the network that it made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.actions.networks import NETWORK
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.passes.freeze import freeze
from edgebuild.passes.graph import files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.loading import Network

_BATCH = 32


def samples(job: CompressJob) -> Samples:
    """The split, preprocessed as it is read."""
    return Samples(Path(job.calibration), job.preprocess)


def batches(job: CompressJob, graph: Graph) -> Iterator[list[Array]]:
    """Batches for a network: an array for each of its inputs."""
    dtypes = [np.dtype(graph.tensors[item.tensor].dtype) for item in graph.inputs]
    return samples(job).batches(_BATCH, dtypes)


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
