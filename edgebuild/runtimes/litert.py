"""LiteRT on this machine: the child that loads an artifact into the TFLite interpreter and scores it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgebuild.actions.runtimes import Ran, RunsJob
from edgebuild.actions.scores import Score, ScoreJob
from edgebuild.child import Say
from edgebuild.data.given import Array
from edgebuild.runtimes.interpreters import fill_randomly, load, refusals
from edgebuild.runtimes.scoring import score_samples


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
            if job.resets:
                interpreter.reset_all_variables()
            interpreter.invoke()
        answer: Array = interpreter.get_tensor(job.spec.outputs[job.metric.output].index)
        return answer

    return score_samples(job, invoke, say)


def run_once(job: RunsJob, _: Say) -> Ran:
    """See whether the interpreter loads and runs the artifact.

    Raises:
        StepError: it refused the artifact.
    """
    name = Path(job.artifact).name
    interpreter = load(job.artifact, name, job.kernels, threads=1)
    fill_randomly(interpreter)
    with refusals(name, job.kernels):
        interpreter.invoke()
    return Ran()
