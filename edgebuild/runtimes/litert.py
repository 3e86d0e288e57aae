"""LiteRT on this machine: the child that loads an artifact into the TFLite interpreter, times it and scores it."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgebuild.child import Job, Say, paced
from edgebuild.core.model import TensorSpec
from edgebuild.core.target import Kernels
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.errors import StepError
from edgebuild.metrics import require_output, score
from edgebuild.runtimes.jobs import Bench, BenchJob, Score, ScoreJob

_RESOLVERS = {
    Kernels.XNNPACK: OpResolverType.AUTO,
    Kernels.BUILTIN: OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    Kernels.REFERENCE: OpResolverType.BUILTIN_REF,
}
_FEWEST_RUNS = 10
_BATCH = 256
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


def bench(job: BenchJob, _say: Say) -> Bench:
    """Load the artifact, warm it up and time it, one inference a sample, on random inputs with a fixed seed.

    Raises:
        StepError: the interpreter refused the artifact.
    """
    before = _reset_peak_bytes()
    interpreter = _load(job.artifact, job.kernels, job.bench.threads)
    _fill_randomly(interpreter)
    with _refusals(job.artifact, job.kernels):
        _times_s(interpreter, job.bench.warmup_runs, 1, job.bench.time / 4)
        samples = _times_s(interpreter, job.bench.runs, _FEWEST_RUNS, job.bench.time)
    return Bench(samples_s=tuple(samples), peak_memory_bytes=max(0, _peak_bytes() - before))


def _times_s(interpreter: Any, most: int, fewest: int, budget_s: float) -> list[float]:
    """Seconds of single inferences: `most` of them, or as many as the budget allows once there are `fewest`."""
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < most and (len(samples) < fewest or time.perf_counter() - started < budget_s):
        start = time.perf_counter_ns()
        interpreter.invoke()
        samples.append((time.perf_counter_ns() - start) * 1e-9)
    return samples


def evaluate(job: ScoreJob, say: Say) -> Score:
    """Feed every evaluation sample, one at a time as the device would, and score the dequantized outputs.

    Raises:
        StepError: the interpreter refused the artifact, or its metric's function failed.
        UsageError: the answers do not fit the outputs.
    """
    interpreter = _load(job.artifact, job.kernels, threads=1)
    samples = Samples(Path(job.evaluation), job.preprocess)
    assert samples.y is not None, "the engine asks only where there are answers"
    require_output(job.metric, len(job.spec.outputs))
    inputs, output = job.spec.inputs, job.spec.outputs[job.metric.output]
    fed = [np.dtype(np.float32) if spec.scale else np.dtype(spec.dtype) for spec in inputs]
    rows: list[Array] = []
    tell = paced(say)
    for arrays in samples.batches(_BATCH, fed):
        stored = [_quantized(array, spec) for array, spec in zip(arrays, inputs, strict=True)]
        for row in range(len(stored[0])):
            for array, spec in zip(stored, inputs, strict=True):
                interpreter.set_tensor(spec.index, array[row : row + 1])
            with _refusals(job.artifact, job.kernels):
                # Samples are independent: a recurrent network must not remember the one before.
                interpreter.reset_all_variables()
                interpreter.invoke()
            rows.append(interpreter.get_tensor(output.index)[0])
            tell(f"{len(rows):,} of {len(samples):,} samples")
    outputs = _real(np.stack(rows), output)
    return Score(score=score(outputs, np.asarray(samples.y), job.metric), samples=len(rows))


JOBS = {"bench": Job(BenchJob, bench), "score": Job(ScoreJob, evaluate)}


def _load(artifact: str, kernels: Kernels, threads: int) -> Any:
    with _refusals(artifact, kernels):
        interpreter = Interpreter(
            model_path=artifact, num_threads=threads, experimental_op_resolver_type=_RESOLVERS[kernels]
        )
        interpreter.allocate_tensors()
    return interpreter


@contextlib.contextmanager
def _refusals(artifact: str, kernels: Kernels) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise StepError(f"LiteRT does not run {Path(artifact).name} with {kernels} kernels", str(error)) from None


def _fill_randomly(interpreter: Any) -> None:
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        dtype = np.dtype(details["dtype"])
        values = rng.random(details["shape"]) if dtype.kind == "f" else rng.integers(0, 2, details["shape"])
        interpreter.set_tensor(details["index"], values.astype(dtype))


def _quantized(array: Array, spec: TensorSpec) -> Array:
    """Real values as an input stores them; TFLite's own rounding, half away from zero, then saturation."""
    if not spec.scale:
        return array
    limits = np.iinfo(spec.dtype)
    scaled = array / np.float32(spec.scale)
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)) + spec.zero_point
    stored: Array = np.clip(rounded, limits.min, limits.max).astype(spec.dtype)
    return stored


def _real(stored: Array, spec: TensorSpec) -> Array:
    if not spec.scale:
        return stored
    return np.asarray((stored.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale))


def _reset_peak_bytes() -> int:
    """Start the peak anew where Linux allows it; the resident bytes now."""
    with contextlib.suppress(OSError):
        _RESET_PEAK.write_text("5")
    return _status_bytes("VmRSS") or _peak_bytes()


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status_bytes("VmHWM") or peak * (1 if sys.platform == "darwin" else 1024)


def _status_bytes(key: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)
