"""Keras metrics, computed by Keras itself wherever a network is scored."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from msgspec.structs import replace

from edgebuild.core.metric import Metric, Task
from edgebuild.data.given import Array
from edgebuild.decode import closest
from edgebuild.errors import StepError, UsageError
from edgebuild.metrics import IGNORED, labels

_BATCH = 1024
# They take class numbers; all others rows of the outputs' shape.
_NUMBERED = ("Sparse", "MeanIoU", "IoU")
_UP, _DOWN = "up", "down"


def with_direction(metric: Metric) -> Metric:
    """With the direction of a Keras metric, where Keras knows it.

    Raises:
        UsageError: Keras has no such metric, or it refuses its options.
    """
    if not metric.is_keras:
        return metric
    direction = getattr(_made(metric), "_direction", None)
    # `_direction` is what Keras's own callbacks go by (mode="auto" of ModelCheckpoint and EarlyStopping).
    return replace(metric, lower_is_better=direction == _DOWN) if direction in (_UP, _DOWN) else metric


def score(outputs: Array, y: Array, metric: Metric) -> float:
    """The result of a Keras metric over all samples.

    Class numbers become one-hot rows for metrics that compare rows, logits become probabilities, and where MeanIoU and
    IoU compare class numbers, outputs become such, unless the options say otherwise.

    Args:
        outputs: [samples, ...].
        y: labels as they were given.
        metric: settled.

    Raises:
        UsageError: the metric refuses its options.
        StepError: it fails on these labels and outputs.
    """
    made = _made(metric)
    wanted, said = _prepared(outputs, y, metric)
    try:
        for start in range(0, len(said), _BATCH):
            made.update_state(wanted[start : start + _BATCH], said[start : start + _BATCH])
        found = np.asarray(made.result())
    except Exception as error:  # whatever a metric raises
        raise StepError(
            f"the metric {metric.label} failed on labels {list(wanted.shape)} and outputs {list(said.shape)}",
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
        ) from None
    if found.size != 1:
        raise UsageError(
            f"the metric {metric.label} gives {found.size} numbers",
            "A build is gated on one.",
            'Let it average them: [metric] options = { average = "macro" }.' if _averages(made) else "Choose another.",
        )
    return float(found.reshape(()))


def _made(metric: Metric) -> Any:
    kind = getattr(keras.metrics, metric.label, None)
    if not (inspect.isclass(kind) and issubclass(kind, keras.metrics.Metric)):
        classes = [name for name in dir(keras.metrics) if name[:1].isupper()]
        raise UsageError(
            f"Keras has no metric {metric.label}{closest(metric.label, classes)}",
            remedy="Name a class of keras.metrics, such as F1Score, CosineSimilarity or RootMeanSquaredError.",
        )
    try:
        return kind(**metric.options)
    except Exception as error:  # whatever a constructor raises
        raise UsageError(
            f"the metric {metric.label} does not take its options",
            f"{type(error).__name__}: {error}",
            f"Set [metric] options; it takes {inspect.signature(kind.__init__)}.".replace("self, ", ""),
        ) from None


def _averages(made: Any) -> bool:
    return "average" in inspect.signature(type(made).__init__).parameters


def _prepared(outputs: Array, y: Array, metric: Metric) -> tuple[Array, Array]:
    """Labels and outputs as the metric takes them."""
    if metric.task in (None, Task.VALUES):
        return (y.reshape(outputs.shape) if y.size == outputs.size else y), outputs
    numbers = labels(outputs, y, metric)
    if metric.ignore is not None:
        outputs, numbers = _counted(outputs, numbers, metric)
    if metric.task != Task.CLASSES:
        wanted = numbers.reshape(outputs.shape)
        return wanted.astype(np.float32), _likely(outputs, metric)
    if metric.label.startswith(_NUMBERED):
        takes_rows = metric.label.startswith("Sparse") or metric.options.get("sparse_y_pred") is False
        return numbers, (outputs if takes_rows else outputs.argmax(axis=-1))
    rows = np.eye(outputs.shape[-1], dtype=np.float32)[numbers]
    return rows.reshape(outputs.shape), _likely(outputs, metric)


def _counted(outputs: Array, numbers: Array, metric: Metric) -> tuple[Array, Array]:
    """What is not ignored, a row for each label: [n, classes] and [n], or [n, 1] and [n, 1]."""
    if metric.task == Task.LABELS:
        raise UsageError(
            f"the metric {metric.label} does not leave out labels that are ignored",
            f"{metric.ignore:g} is, and samples have several labels.",
            "Choose --metric accuracy or auc, or leave [metric] ignore out.",
        )
    flat = numbers.ravel() != IGNORED
    rows = outputs.reshape(numbers.size, -1)
    if metric.task == Task.CLASSES:
        return rows[flat], numbers.ravel()[flat]
    return rows[flat], numbers.reshape(-1, 1)[flat]


def _likely(outputs: Array, metric: Metric) -> Array:
    """Logits as probabilities, unless the metric was asked to take logits."""
    if "from_logits" in metric.options or (outputs.min() >= 0 and outputs.max() <= 1):
        return outputs
    if metric.task == Task.CLASSES:
        return np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(outputs)))
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.sigmoid(outputs))) if metric.threshold == 0 else outputs
