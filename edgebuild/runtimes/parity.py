"""One artifact on two kernel families, or at two places: the same samples, and how far their outputs lie apart.

Each runs in a child of its own, since some files end the process in one of them; what it wrote is kept in files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgebuild import metrics
from edgebuild.actions.fidelity import Outputs, OutputsJob, ParityJob
from edgebuild.child import Say, paced
from edgebuild.core.device import OutputParity, Parity
from edgebuild.core.model import TensorSpec
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.errors import StepError
from edgebuild.runtimes import interpreters

# Reference kernels take some seconds for this many.
_MOST_MACS = 4 * 10**9
_FEWEST_SAMPLES = 4
# Outputs are kept as they are, and masks are large.
_MOST_BYTES = 256 * 10**6


# Runs one sample: takes what each input stores, each [1, ...], and returns what each output then holds.
Run = Callable[[Sequence[Array]], Sequence[Array]]


def outputs(job: OutputsJob, say: Say) -> Outputs:
    """Run the samples one at a time, as the device would.

    Raises:
        StepError: the interpreter refused the artifact.
    """
    name = Path(job.artifact).name
    interpreter = interpreters.load(job.artifact, name, job.kernels, threads=1)

    def run(fills: Sequence[Array]) -> Sequence[Array]:
        for array, spec in zip(fills, job.spec.inputs, strict=True):
            interpreter.set_tensor(spec.index, array)
        with interpreters.refusals(name, job.kernels):
            interpreter.invoke()
        return [interpreter.get_tensor(spec.index) for spec in job.spec.outputs]

    return keep_outputs(job, run, say)


def keep_outputs(job: OutputsJob, run: Run, say: Say) -> Outputs:
    """Run the samples with `run`, and keep what came out."""
    samples = Samples(Path(job.samples), job.preprocess)
    dtypes = [np.dtype(np.float32) if spec.scale else np.dtype(spec.dtype) for spec in job.spec.inputs]
    rows = _rows(job, len(samples))
    kept: list[list[Array]] = [[] for _ in job.spec.outputs]
    tell = paced(say)
    for done, row in enumerate(rows):
        arrays = samples.take(np.asarray([row]), dtypes)
        found = run([interpreters.stored(array, spec) for array, spec in zip(arrays, job.spec.inputs, strict=True)])
        for place, values in zip(kept, found, strict=True):
            place.append(values)
        tell(f"{done + 1:,} of {len(rows):,} samples")
    for position, collected in enumerate(kept):
        np.save(_file(job.out, position), np.concatenate(collected))
    return Outputs(samples=len(rows))


def parity(job: ParityJob, _: Say) -> Parity:
    """Compare what two runs kept.

    Raises:
        StepError: they did not run the same samples.
    """
    pairs = [_pair(job, position) for position in range(len(job.spec.outputs))]
    scored, other = pairs[job.scored_output]
    return Parity(
        kernels=job.kernels,
        samples=len(scored),
        differing_answers=int(np.count_nonzero(_differs(_answers(scored, job), _answers(other, job)))),
        outputs=tuple(
            _output_parity(spec, first, second) for spec, (first, second) in zip(job.spec.outputs, pairs, strict=True)
        ),
    )


def _rows(job: OutputsJob, available: int) -> Array:
    """Evenly spread positions of samples: splits are often sorted by class."""
    row_bytes = sum(_row_bytes(spec) for spec in job.spec.outputs)
    affordable = min(_MOST_MACS // max(1, job.spec.macs), _MOST_BYTES // max(1, row_bytes))
    count = min(job.most_samples, available, max(_FEWEST_SAMPLES, affordable))
    return np.linspace(0, available - 1, count).round().astype(np.intp)


def _row_bytes(spec: TensorSpec) -> int:
    return int(np.prod([abs(size) for size in spec.shape])) * np.dtype(spec.dtype).itemsize


def _file(folder: str, position: int) -> Path:
    return Path(folder) / f"output{position:03}.npy"


def _pair(job: ParityJob, position: int) -> tuple[Array, Array]:
    first, second = (np.load(_file(folder, position), mmap_mode="r") for folder in job.outputs)
    if first.shape != second.shape:
        raise StepError(
            f"{job.kernels[0]} and {job.kernels[1]} cannot be compared",
            f"Their outputs have the shapes {list(first.shape)} and {list(second.shape)}.",
        )
    return first, second


def _output_parity(spec: TensorSpec, first: Array, second: Array) -> OutputParity:
    steps = None
    if spec.scale:
        steps = int(np.abs(first.astype(np.int64) - second.astype(np.int64)).max(initial=0))
    return OutputParity(
        name=spec.name,
        largest_steps=steps,
        largest_difference=float(steps * spec.scale) if steps is not None else _largest_difference(first, second),
        differing_values=float(_not_same(first, second).mean()) if first.size else 0.0,
    )


def _largest_difference(first: Array, second: Array) -> float | None:
    """Between values that are not quantized; None where it is not finite."""
    differs = _not_same(first, second)
    with np.errstate(invalid="ignore"):
        distance = np.abs(first[differs].astype(np.float64) - second[differs].astype(np.float64))
    return float(distance.max(initial=0.0)) if np.isfinite(distance).all() else None


def _not_same(first: Array, second: Array) -> Array:
    """Where values differ; two that are not numbers do not."""
    differs = np.asarray(first != second)
    return differs & ~(np.isnan(first) & np.isnan(second)) if first.dtype.kind == "f" else differs


def _answers(values: Array, job: ParityJob) -> Array:
    """Predictions: yes or no by the metric, else the place of the largest value; a value alone is itself."""
    if job.metric is not None and job.metric.says_yes_or_no:
        return metrics.predictions(interpreters.real(values, job.spec.outputs[job.scored_output]), job.metric)
    return np.asarray(values.argmax(axis=-1) if values.ndim > 1 and values.shape[-1] > 1 else values)


def _differs(first: Array, second: Array) -> Array:
    """For each sample whether any of its answers is another."""
    return np.asarray(_not_same(first, second).reshape(len(first), -1).any(axis=1))
