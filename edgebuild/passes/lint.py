"""The job that looks for faults in the data, with the network at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import tensorflow as tf

from edgebuild.actions.datasets import CALIBRATION, EVALUATION, LEARNING, Linted, LintJob
from edgebuild.child import Say
from edgebuild.core.finding import Finding
from edgebuild.core.metric import Metric, Task
from edgebuild.core.model import ModelSpec
from edgebuild.core.settings import MetricKind
from edgebuild.data.lint import channels, classes, content, fit
from edgebuild.data.lint.subject import Part, Subject, View, part_of
from edgebuild.data.samples import Samples
from edgebuild.passes.batch_norms import FrozenView

_TRAIN = "train"
# A new check is a function here, and its code in `core.finding`.
CHECKS: tuple[Callable[[Subject], Iterable[Finding]], ...] = (
    content.amount,
    content.repetition,
    content.overlap,
    fit.fit,
    channels.constants,
    channels.columns,
    classes.labels,
    classes.coverage,
    classes.balance,
    classes.chance,
)


def run(job: LintJob, _: Say) -> Linted:
    """Look at a bounded part of each split.

    Raises:
        UsageError: the preprocessing does not fit the samples.
    """
    subject = Subject(
        calibration=_part(job, CALIBRATION, CALIBRATION),
        evaluation=_part(job, EVALUATION, EVALUATION),
        train=_part(job, LEARNING, _TRAIN),
        view=_view(job),
        inputs=job.network.inputs,
        preprocess=job.preprocess,
        classes=_classes(job.network, job.metric),
        labels=job.labels,
        counts_hits=job.metric.name == MetricKind.ACCURACY,
        threshold=0.5 if job.metric.threshold is None else job.metric.threshold,
        is_int8=job.is_int8,
        hits=None if job.baseline is None else round(job.baseline.score * job.baseline.samples),
    )
    return Linted(findings=lint(subject))


def _part(job: LintJob, folder: str, split: str) -> Part | None:
    if folder not in job.data:
        return None
    return part_of(split, Samples(Path(job.data[folder]), job.preprocess), job.network.inputs)


def _view(job: LintJob) -> View | None:
    """The network's inside; None where it cannot be had, which costs some checks and no build."""
    try:
        return FrozenView(tf.saved_model.load(job.saved_model), batched=job.batched)
    except Exception:  # whatever TensorFlow raises of a graph that it cannot turn into one without variables
        return None


def _classes(network: ModelSpec, metric: Metric) -> int:
    """How many classes the scored output tells apart: two with one value; 0 where it is not known to do so."""
    yes_or_no = metric.task == Task.BINARY and (metric.low, metric.high) == (0.0, 1.0)
    if not (metric.classifies or yes_or_no) or metric.output >= len(network.outputs):
        return 0
    shape = network.outputs[metric.output].shape
    return max(2, shape[-1]) if len(shape) == 2 and shape[-1] > 0 else 0


def lint(subject: Subject) -> tuple[Finding, ...]:
    """Everything that the checks find, in their order."""
    return tuple(finding for check in CHECKS for finding in check(subject))
