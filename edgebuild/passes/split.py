"""The job that reads data, holds them against the network and writes the splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from edgebuild.actions.datasets import CALIBRATION, EVALUATION, LEARNING, LEARNING_ROWS, VALIDATION, SplitJob, Splits
from edgebuild.child import Say, paced
from edgebuild.core.delivery import Pixels
from edgebuild.core.model import TensorSpec
from edgebuild.data import csv_files, images, reading, samples
from edgebuild.data.given import Array, Examples, Given, fit, ordered
from edgebuild.data.splitting import divide
from edgebuild.errors import EdgebuildError, StepError
from edgebuild.metrics import load_callable

_CHUNK = 256
_BYTE = 255
_ROUNDED = 1e-3  # what a scaled pixel may lie beyond its range


def run(job: SplitJob, say: Say) -> Splits:
    """Read, check, divide and write.

    Raises:
        UsageError: the data cannot be read or do not fit the network.
        StepError: the user's function failed.
    """
    given, notes = fit(ordered(_read(job, say), job.split.labels, job.path), job.inputs, job.path)
    divided = divide(given, job.split)
    out = Path(job.out)
    evaluation = divided.evaluation
    learning = given.train.take(divided.learning) if given.train and len(divided.learning) else None
    validation = given.validation if learning else None
    np.save(out / LEARNING_ROWS, divided.learning)
    return Splits(
        train_samples=len(divided.train) if divided.train else 0,
        calibration_samples=len(divided.calibration) if divided.calibration else 0,
        evaluation_samples=len(evaluation) if evaluation else 0,
        given_samples=len(given.train) if given.train else 0,
        learning_samples=len(divided.learning),
        learning_sha256=_save(learning, out / LEARNING),
        calibration_sha256=_save(divided.calibration, out / CALIBRATION),
        evaluation_sha256=_save(evaluation, out / EVALUATION),
        has_answers=evaluation is not None and evaluation.y is not None,
        learning_has_answers=learning is not None and learning.y is not None,
        labels=given.labels,
        notes=(*given.notes, *([given.resizing.text] if given.resizing else ()), *notes, *divided.notes),
        validation_samples=len(validation) if validation else 0,
        validation_sha256=_save(validation, out / VALIDATION),
        resizing=given.resizing,
        pixels=_encodings(given, len(job.inputs)),
    )


def _read(job: SplitJob, say: Say) -> Given:
    path = Path(job.path)
    if job.kind == "callable":
        return _call(job.path, job.inputs, job.split.seed)
    if csv_files.files(path):
        return csv_files.from_csv(path, job.inputs, job.split.label_column)
    if job.kind == "folder":
        return images.from_folder(path, job.inputs, paced(say))
    return reading.from_npz(path, job.inputs)


def _call(path: str, inputs: tuple[TensorSpec, ...], seed: int) -> Given:
    """What the user's function returns, which draws and shuffles the same way in each build."""
    function = load_callable(path)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    try:
        return reading.from_result(function(), inputs, path)
    except EdgebuildError:
        raise
    except Exception as error:
        raise StepError(f"{path} failed", f"{type(error).__name__}: {error}") from None


def _save(examples: Examples | None, folder: Path) -> str:
    return samples.save(examples, folder) if examples is not None else ""


def _encodings(given: Given, inputs: int) -> tuple[Pixels, ...]:
    """For each input how its samples would hold pixels, by all samples that there are; empty where there are none."""
    splits = [part for part in (given.train, given.validation, given.calibration, given.evaluation) if part is not None]
    return tuple(encoding(part.x[place] for part in splits) for place in range(inputs)) if splits else ()


def encoding(arrays: Iterable[Array]) -> Pixels:
    """How arrays of samples hold pixels; OTHER where these values are none.

    Bytes are pixels however dark they are; of floats the range tells.
    """
    low, high, whole = np.inf, -np.inf, True
    for array in arrays:
        whole = whole and array.dtype.kind in "iub"
        for start in range(0, len(array), _CHUNK):
            some = array[start : start + _CHUNK]
            low, high = min(low, float(some.min())), max(high, float(some.max()))
    if whole:
        return Pixels.BYTES if low >= 0 and high <= _BYTE else Pixels.OTHER
    if low >= 0 and high <= 1 + _ROUNDED:
        return Pixels.UNIT
    if low >= -1 - _ROUNDED and high <= 1 + _ROUNDED:
        return Pixels.SIGNED
    return Pixels.BYTES if low >= 0 and high <= _BYTE + _ROUNDED else Pixels.OTHER
