"""Scores of a network's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from edgebuild.core.metric import Metric, Task
from edgebuild.core.settings import MetricKind
from edgebuild.data.given import Array
from edgebuild.errors import EdgebuildError, StepError, UsageError
from edgebuild.metrics.ignoring import IGNORED
from edgebuild.metrics.labels import labels, predictions, residuals, task_of

_MAP = 4  # axes of the outputs of a segmentation: samples, height, width, classes
# Keras lives in the room of TensorFlow: it is looked up as a function of the user's is, by those alone who score by it.
_KERAS = "edgebuild.passes.keras_metrics:score"


def score(outputs: Array, y: Array, metric: Metric) -> float:
    """Score real-valued outputs against the answers.

    Args:
        outputs: [samples, ...], dequantized.
        y: [samples] class numbers or [samples, classes] one-hot for accuracy, top-k and AUC; for MSE and MAE as many
            values as `outputs`; for a callable whatever it takes. One place of a sample is scored as a sample is.
        metric: which score. Where it was not settled, outputs are read by their shape.

    Raises:
        UsageError: the answers do not fit the outputs or the metric, name no classes where it compares such, or the
            callable cannot be found.
        StepError: the outputs or the score are not finite, or the callable failed.
    """
    finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if not finite.all():
        raise StepError(
            f"the network's output for evaluation sample {int(np.argmin(finite))} is NaN or infinite",
            f"So it is for {np.count_nonzero(~finite):,} of {len(outputs):,} samples: no score means anything.",
        )
    built_in = _BUILT_IN.get(metric.name)
    if built_in is not None and y.dtype.kind not in "fiub":
        raise UsageError(
            f"the answers are of type {y.dtype}, not numbers", remedy="Give class numbers; their names go into labels."
        )
    found = built_in(outputs, y, metric) if built_in is not None else _called(outputs, y, metric)
    if not math.isfinite(found):
        raise StepError(f"the {metric.label} on the evaluation samples is not a finite number")
    return found


def further(outputs: Array, y: Array, metric: Metric) -> dict[str, float]:
    """Other scores that say more of the same outputs, by their names; what cannot be had is left out."""
    found: dict[str, float] = {}
    for name in _further(metric, outputs):
        try:
            value = _BUILT_IN[name](outputs, y, metric)
        except UsageError:  # labels of one class have no AUC
            continue
        if math.isfinite(value):
            found[str(name)] = value
    return found


def _further(metric: Metric, outputs: Array) -> tuple[MetricKind, ...]:
    """What is looked at beside the metric that was settled."""
    names: tuple[MetricKind, ...] = ()
    if metric.task == Task.VALUES:
        names = (MetricKind.MAE, MetricKind.MSE, MetricKind.R2)
    elif metric.task == Task.LABELS:
        names = (MetricKind.AUC,)
    elif metric.task == Task.BINARY and outputs.size > len(outputs):
        names = (MetricKind.IOU,)
    elif metric.task == Task.CLASSES and outputs.ndim >= _MAP:
        names = (MetricKind.MIOU,)
    return tuple(name for name in names if name != metric.name)


def require_output(metric: Metric, outputs: int) -> None:
    """Check that the output that a metric scores is there.

    Raises:
        UsageError: the network has fewer outputs.
    """
    if metric.output >= outputs:
        raise UsageError(
            f"the metric asks for output {metric.output}, and the network has {outputs}",
            remedy="Outputs are numbered from 0: set [metric] output.",
        )


def _accuracy(outputs: Array, y: Array, metric: Metric) -> float:
    said, wanted = _counted(predictions(outputs, metric), labels(outputs, y, metric))
    return float(np.mean(said == wanted))


def _top_k(outputs: Array, y: Array, metric: Metric) -> float:
    rows, wanted = _counted(outputs, labels(outputs, y, metric))
    best = np.argsort(-rows, axis=-1, kind="stable")[..., : metric.k]
    return float(np.mean((best == wanted[..., np.newaxis]).any(axis=-1)))


def _auc(outputs: Array, y: Array, metric: Metric) -> float:
    from sklearn.metrics import roc_auc_score  # a second of imports that other scores need not pay

    wanted, task = labels(outputs, y, metric), task_of(metric, outputs)
    if len(np.unique(wanted[wanted != IGNORED])) < 2:
        raise UsageError("AUC needs answers of at least two classes", "All evaluation samples have the same one.")
    if task == Task.BINARY:
        likely, wanted = _counted(outputs.reshape(wanted.shape), wanted)
        return float(roc_auc_score(wanted.ravel(), likely.ravel()))
    if task == Task.LABELS:
        columns = [_counted(*pair) for pair in zip(_rows(outputs).T, _rows(wanted).T, strict=True)]
        return _macro([(likely, wanted == 1) for likely, wanted in columns])
    rows, wanted = _counted(outputs, wanted)
    rows = _rows(rows)
    if rows.shape[1] == 2:
        return float(roc_auc_score(wanted.ravel() == 1, rows[:, 1]))
    # Quantized probabilities do not add up to one exactly; the score depends on their order within a column only.
    return _macro([(column, wanted.ravel() == k) for k, column in enumerate(rows.T)])


def _macro(columns: Sequence[tuple[Array, Array]]) -> float:
    """The mean AUC over columns of outputs, each with what is yes; those of one kind alone have none."""
    from sklearn.metrics import roc_auc_score

    found = [roc_auc_score(yes, likely) for likely, yes in columns if 0 < np.count_nonzero(yes) < len(yes)]
    if not found:
        raise UsageError("AUC needs labels of both kinds", "Each label is the same for all evaluation samples.")
    return float(np.mean(found))


def _rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def _counted(said: Array, wanted: Array) -> tuple[Array, Array]:
    """Of outputs or predictions and their labels (the first axes of both are alike) those that are not ignored."""
    counts = wanted != IGNORED
    return (said, wanted) if counts.all() else (said[counts], wanted[counts])


def _iou(outputs: Array, y: Array, metric: Metric) -> float:
    """Intersection over union of what is yes, over all samples together; 1 where there is none in either."""
    from sklearn.metrics import jaccard_score

    said, wanted = _counted(predictions(outputs, metric), labels(outputs, y, metric))
    return float(jaccard_score(wanted.ravel(), said.ravel(), zero_division=1.0))


def _miou(outputs: Array, y: Array, metric: Metric) -> float:
    """The mean over the classes that labels or predictions have."""
    from sklearn.metrics import jaccard_score

    said, wanted = _counted(predictions(outputs, metric), labels(outputs, y, metric))
    return float(jaccard_score(wanted.ravel(), said.ravel(), average="macro"))


def _mse(outputs: Array, y: Array, _: Metric) -> float:
    return float(np.mean(np.square(residuals(outputs, y))))


def _rmse(outputs: Array, y: Array, metric: Metric) -> float:
    return math.sqrt(_mse(outputs, y, metric))


def _mae(outputs: Array, y: Array, _: Metric) -> float:
    return float(np.mean(np.abs(residuals(outputs, y))))


def _r2(outputs: Array, y: Array, _: Metric) -> float:
    """The share of the labels' variance that is explained, over all values together."""
    from sklearn.metrics import r2_score

    rows = np.asarray(outputs, np.float64).reshape(len(outputs), -1)
    left = residuals(outputs, y).reshape(rows.shape)
    return float(r2_score(rows - left, rows, multioutput="variance_weighted"))


_BUILT_IN: dict[str, Callable[[Array, Array, Metric], float]] = {
    MetricKind.ACCURACY: _accuracy,
    MetricKind.TOP_K: _top_k,
    MetricKind.AUC: _auc,
    MetricKind.MIOU: _miou,
    MetricKind.IOU: _iou,
    MetricKind.MSE: _mse,
    MetricKind.RMSE: _rmse,
    MetricKind.MAE: _mae,
    MetricKind.R2: _r2,
}


def load_callable(path: str) -> Callable[..., Any]:
    """The function that module:callable names.

    Raises:
        UsageError: the module cannot be imported or has no such function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be loaded",
            str(error),
            "Modules are looked up in the working folder and in the environment.",
        ) from None
    except Exception as error:
        raise StepError(f"importing {module} failed", f"{type(error).__name__}: {error}") from None
    if not callable(function):
        raise UsageError(f"{path} is not callable")
    return function  # type: ignore[no-any-return]


def _called(outputs: Array, y: Array, metric: Metric) -> float:
    """The score that a function or a Keras metric gives.

    Raises:
        UsageError: it cannot be found, or refuses its options.
        StepError: it failed.
    """
    named = metric.plugin.run if metric.plugin is not None else metric.name
    function = load_callable(_KERAS if metric.is_keras else named)
    path = metric.label
    try:
        return float(function(outputs, y, metric) if metric.is_keras else function(outputs, y))
    except EdgebuildError:
        raise
    except Exception as error:
        raise StepError(f"the metric {path} failed", f"{type(error).__name__}: {error}") from None
