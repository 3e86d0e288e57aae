"""LiteRT on this machine: the child that loads an artifact into the TFLite interpreter, times it and scores it."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from edgebuild.child import Job, Say
from edgebuild.data.given import Array
from edgebuild.runtimes.interpreters import fill_randomly, load, refusals, times_s
from edgebuild.runtimes.jobs import Bench, BenchJob, LayerLossJob, LayerTimesJob, OutputLossJob, Score, ScoreJob
from edgebuild.runtimes.layer_loss import layer_loss
from edgebuild.runtimes.layer_times import layer_times
from edgebuild.runtimes.output_loss import output_loss
from edgebuild.runtimes.scoring import score_samples

_FEWEST_RUNS = 10
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


def bench(job: BenchJob, _say: Say) -> Bench:
    """Load the artifact, warm it up and time it, one inference a sample, on random inputs with a fixed seed.

    Raises:
        StepError: the interpreter refused the artifact.
    """
    before = _reset_peak_bytes()
    name = Path(job.artifact).name
    interpreter = load(job.artifact, name, job.kernels, job.bench.threads)
    fill_randomly(interpreter)
    with refusals(name, job.kernels):
        times_s(interpreter, most=job.bench.warmup_runs, fewest=1, budget_s=job.bench.time / 4)
        samples = times_s(interpreter, most=job.bench.runs, fewest=_FEWEST_RUNS, budget_s=job.bench.time)
    return Bench(samples_s=tuple(samples), peak_memory_bytes=max(0, _peak_bytes() - before))


def evaluate(job: ScoreJob, say: Say) -> Score:
    """Score the artifact and keep its outputs, as `score_samples` does.

    Raises:
        StepError: the interpreter refused the artifact, or its metric's function failed.
        UsageError: the answers do not fit the outputs.
    """
    name = Path(job.artifact).name
    interpreter = load(job.artifact, name, job.kernels, threads=1)

    def invoke(fills: Sequence[Array]) -> Array:
        for array, spec in zip(fills, job.spec.inputs, strict=True):
            interpreter.set_tensor(spec.index, array)
        with refusals(name, job.kernels):
            # Samples are independent: a recurrent network must not remember the one before.
            interpreter.reset_all_variables()
            interpreter.invoke()
        answer: Array = interpreter.get_tensor(job.spec.outputs[job.metric.output].index)
        return answer

    return score_samples(job, invoke, say)


JOBS = {
    "bench": Job(BenchJob, bench),
    "score": Job(ScoreJob, evaluate),
    "output-loss": Job(OutputLossJob, output_loss),
    "layer-loss": Job(LayerLossJob, layer_loss),
    "layer-times": Job(LayerTimesJob, layer_times),
}


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
