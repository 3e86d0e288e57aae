"""TensorFlow Lite Micro on this machine: the child that scores an artifact on its kernels and weighs its arena."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from edgebuild.actions.runtimes import KernelsJob, MissingKernels, Ran, RunsJob, SampleJob
from edgebuild.actions.scores import Score, ScoreJob
from edgebuild.child import Say
from edgebuild.core.delivery import Vector
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.runtimes.interpreters import stored
from edgebuild.runtimes.scoring import score_samples
from edgebuild.runtimes.tflm import interpreter
from edgebuild.runtimes.tflm.interpreter import Micro, positions


def evaluate(job: ScoreJob, say: Say) -> Score:
    """Score the artifact on TFLM's kernels and keep its outputs; of kernels it has one family, whatever the job says.

    Raises:
        StepError: TFLM refused the artifact, or its metric's function failed.
        UsageError: the answers do not fit the outputs.
        UnavailableError: TFLM is not installed.
    """
    micro = Micro(Path(job.artifact))
    places = positions(job.spec.inputs, micro.spec.inputs)

    def invoke(fills: Sequence[Array]) -> Array:
        micro.run([fills[place] for place in places], resets=job.resets)
        scored = job.spec.outputs[job.metric.output].index
        return micro.output([tensor.index for tensor in micro.spec.outputs].index(scored))

    return score_samples(job, invoke, say)


def sample(job: SampleJob, _say: Say) -> Vector:
    """Run one sample and return what went in and came out: a vector by which firmware can check itself.

    Raises:
        StepError: TFLM refused the artifact.
        UnavailableError: TFLM is not installed.
    """
    micro = Micro(Path(job.artifact))
    samples = Samples(Path(job.samples), job.preprocess)
    found = _sample(micro, job, samples, job.row, resets=False)
    if not micro.spec.keeps_state:
        return found
    following = _sample(micro, job, samples, (job.row + 1) % len(samples), resets=not job.streams)
    return replace(found, following=following)


def _sample(micro: Micro, job: SampleJob, samples: Samples, row: int, *, resets: bool) -> Vector:
    inputs = job.spec.inputs
    fed = [np.dtype(np.float32) if spec.scale else np.dtype(spec.dtype) for spec in inputs]
    arrays = samples.batch(row, row + 1, fed)
    fills = [stored(array, spec) for array, spec in zip(arrays, inputs, strict=True)]
    ordered = [fills[place] for place in positions(inputs, micro.spec.inputs)]
    micro.run(ordered, resets=resets)
    return Vector(
        inputs=tuple(array.tobytes() for array in ordered),
        outputs=tuple(micro.output(position).tobytes() for position in range(len(micro.spec.outputs))),
    )


def missing_kernels(job: KernelsJob, _say: Say) -> MissingKernels:
    """Find the operators that TFLM cannot run.

    Raises:
        UnavailableError: TFLM is not installed.
    """
    return MissingKernels(operators=interpreter.missing_kernels(job.operators))


def run_once(job: RunsJob, _say: Say) -> Ran:
    """See whether TFLM loads and runs the artifact.

    Raises:
        StepError: TFLM refused the artifact.
        UnavailableError: TFLM is not installed.
    """
    Micro(Path(job.artifact)).run_zeros()
    return Ran()
