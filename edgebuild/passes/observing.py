"""The calibration split, as the networks of passes take it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgebuild.actions.compression import CompressJob
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.passes.graph.ir import Graph

_BATCH = 32


def samples(job: CompressJob) -> Samples:
    """The split, preprocessed as it is read."""
    return Samples(Path(job.calibration), job.preprocess)


def batches(job: CompressJob, graph: Graph) -> Iterator[list[Array]]:
    """Batches for a network: an array for each of its inputs."""
    dtypes = [np.dtype(graph.tensors[item.tensor].dtype) for item in graph.inputs]
    return samples(job).batches(_BATCH, dtypes)
