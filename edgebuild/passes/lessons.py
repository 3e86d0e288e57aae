"""What a training learns from, set up from the words of a job: data, the original as a teacher, further teachers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.actions.compression import LessonJob
from edgebuild.actions.datasets import LEARNING, LEARNING_ROWS, VALIDATION
from edgebuild.child import Say
from edgebuild.core.metric import Metric
from edgebuild.core.settings import TeacherSettings
from edgebuild.errors import UsageError
from edgebuild.metrics import ignoring
from edgebuild.passes import loading
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.training import teachers
from edgebuild.passes.training.data import TrainData
from edgebuild.passes.training.loop import Lesson
from edgebuild.passes.training.teachers import Teacher, remembering
from edgebuild.passes.training.trainer import Trainer
from edgebuild.units import format_seconds


def trainer(job: LessonJob, original: Graph, say: Say) -> Trainer:
    """A seeded trainer.

    Args:
        job: what to learn from.
        original: the network before compression, a teacher unless its weight is 0.
        say: is told how training gets on.

    Raises:
        UsageError: a teacher cannot be found, or does not fit the data.
        StepError: there are too few samples, or a teacher failed.
    """
    started = time.monotonic()
    tf_keras.utils.set_random_seed(job.seed)
    tf.config.experimental.enable_op_determinism()
    dtypes = [np.dtype(original.tensors[item.tensor].dtype) for item in original.inputs]
    folder = Path(job.data)
    validation = folder / VALIDATION if job.validation_samples else None
    data = TrainData(folder / LEARNING, job.preprocess, dtypes, job.train, job.seed, job.metric, validation)
    _require_labels(data, job.metric, original)
    if not job.train.epochs:
        say(f"training takes up to {format_seconds(job.time_s)}")
    shapes = [original.tensors[number].shape[1:] for number in original.outputs]
    taught_by = [teacher for teacher in _teachers(job, original) if teacher.weight > 0]
    if not data.augments:
        taught_by = [remembering(teacher, shapes, len(data)) for teacher in taught_by]
    lesson = Lesson(
        data=data,
        teachers=taught_by,
        train=job.train,
        distill=job.distill,
        metric=job.metric,
        time_s=job.time_s,
        seed=job.seed,
        unseen=job.unseen,
        started=started,
        original=original,
    )
    return Trainer(lesson, say)


def _require_labels(data: TrainData, metric: Metric, original: Graph) -> None:
    """Class numbers must be those of outputs; raises UsageError."""
    y = data.answers(np.concatenate([data.rows, data.validation]))
    classes = original.tensors[original.outputs[metric.output]].shape[-1] or 0
    if y is None or classes < 2 or not metric.classifies:
        return
    if y.dtype.kind not in "fiub":
        raise UsageError(f"y_train is of type {y.dtype}, not numbers", remedy="Give class numbers.")
    if metric.ignore is not None:
        y = ignoring.filled(y, metric.ignore)
    if y.shape[-1] != classes and not 0 <= y.min() <= y.max() < classes:
        raise UsageError(f"y_train names classes from {y.min()} to {y.max()}, the network has 0 to {classes - 1}")


def _teachers(job: LessonJob, original: Graph) -> Iterator[Teacher]:
    yield teachers.of_model(building.build(original), "the original network", job.distill.original)
    for settings in job.distill.teachers:
        yield _further(settings, job)


def _further(settings: TeacherSettings, job: LessonJob) -> Teacher:
    path = settings.network
    if path.endswith(teachers.STORED):
        rows = np.load(Path(job.data) / LEARNING_ROWS)
        more = np.arange(job.given_samples, job.given_samples + job.validation_samples)
        samples = job.given_samples + job.validation_samples
        return teachers.of_file(Path(path), samples, np.concatenate([rows, more]), settings.weight)
    if not Path(path).exists():
        return teachers.of_callable(path, settings.weight)
    kind = "folder" if Path(path).is_dir() else "file"
    network = loading.load(kind, path, signature="", allow_code=job.allow_code)
    if network.keras_model is None and (len(network.inputs) > 1 or len(network.outputs) > 1):
        raise UsageError(
            f"the teacher {path} is a SavedModel without layers and has several inputs or outputs",
            "In which order they are meant is not known.",
            "Name its .keras or .h5 file, or a module:callable that returns a function of a batch.",
        )
    return Teacher(path, settings.weight, lambda tensors: network.call(*tensors), None)
