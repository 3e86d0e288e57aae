"""Accuracy and outputs of an artifact at a place: the child that feeds it samples there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgebuild.actions.fidelity import Outputs, OutputsAtJob
from edgebuild.actions.scores import At, Score, ScoreAtJob
from edgebuild.child import Say
from edgebuild.core.model import ArtifactSpec, TensorSpec
from edgebuild.core.target import Kernels
from edgebuild.data.given import Array
from edgebuild.flatbuffer import reader
from edgebuild.process import Limits
from edgebuild.runtimes.parity import keep_outputs
from edgebuild.runtimes.places.protocol import How, Worker
from edgebuild.runtimes.places.table import open_place
from edgebuild.runtimes.scoring import score_samples


def score(job: ScoreAtJob, say: Say) -> Score:
    """Score the artifact as it runs at the place, and keep its outputs as `score_samples` does.

    Raises:
        UnavailableError: the place is not there, lacks a tool, or keeps outputs to itself.
        StepError: the artifact was refused there, its process ended, or the metric's function failed.
        UsageError: the answers do not fit the outputs.
    """
    asked = job.score
    with _worker(job.at, asked.artifact, asked.kernels, say) as worker:
        run = _Runner(worker, asked.spec, Path(asked.artifact))
        return score_samples(asked, lambda fills: run(fills)[asked.metric.output], say)


def outputs(job: OutputsAtJob, say: Say) -> Outputs:
    """Run samples at the place and keep what comes out.

    Raises:
        UnavailableError: the place is not there, lacks a tool, or keeps outputs to itself.
        StepError: the artifact was refused there, or its process ended.
    """
    asked = job.outputs
    with _worker(job.at, asked.artifact, asked.kernels, say) as worker:
        return keep_outputs(asked, _Runner(worker, asked.spec, Path(asked.artifact)), say)


class _Runner:
    """Runs one sample, its ends in the order of `spec`, where a worker knows the file's order alone."""

    def __init__(self, worker: Worker, spec: ArtifactSpec, artifact: Path) -> None:
        file = reader.parse(artifact.read_bytes(), artifact.name)
        self._worker = worker
        self._inputs = [_position(spec.inputs, tensor) for tensor in file.inputs]
        self._outputs = [(_position(file.outputs, tensor), tensor) for tensor in spec.outputs]

    def __call__(self, fills: Sequence[Array]) -> list[Array]:
        (found,) = self._worker.outputs([[fills[position].tobytes() for position in self._inputs]])
        return [_array(found[position], tensor) for position, tensor in self._outputs]


def _position(tensors: Sequence[TensorSpec], wanted: TensorSpec) -> int:
    return next(position for position, tensor in enumerate(tensors) if tensor.index == wanted.index)


def _array(data: bytes, spec: TensorSpec) -> Array:
    """Stored values as the shape says; a dimension that the file leaves open is read off their number."""
    shape = [size if size > 0 else -1 for size in spec.shape]
    return np.frombuffer(data, np.dtype(spec.dtype)).reshape(shape)


@contextlib.contextmanager
def _worker(at: At, artifact: str, kernels: Kernels, say: Say) -> Iterator[Worker]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgebuild-"))
        place = open_place(at.place, Limits(time_s=at.time_s, memory_bytes=at.memory_bytes), Path(folder), say)
        stack.callback(place.close)
        worker = place.start(Path(artifact), How(at.place.kernels or kernels))
        stack.callback(worker.close)
        yield worker
