"""Scores of a network's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from edgebuild.core.settings import Metric, MetricKind
from edgebuild.data.given import Array
from edgebuild.errors import StepError, UsageError


def score(outputs: Array, y: Array, metric: Metric) -> float:
    """Score real-valued outputs against the answers.

    Args:
        outputs: [samples, ...], dequantized.
        y: [samples] class numbers or [samples, classes] one-hot for accuracy, top-k and AUC; for MSE and MAE as many
            values as `outputs`; for a callable whatever it takes.
        metric: which score.

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
    found = built_in(outputs, y, metric) if built_in is not None else _called(metric.name, outputs, y)
    if not math.isfinite(found):
        raise StepError(f"the {metric.label} on the evaluation samples is not a finite number")
    return found


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


def _called(path: str, outputs: Array, y: Array) -> float:
    function = load_callable(path)
    try:
        return float(function(outputs, y))
    except Exception as error:
        raise StepError(f"the metric {path} failed", f"{type(error).__name__}: {error}") from None


def is_binary(outputs: Array) -> bool:
    """Whether a network has one output, the probability of class 1 against class 0."""
    return outputs.ndim == 2 and outputs.shape[1] == 1


def labels(outputs: Array, y: Array) -> Array:
    """The class numbers of the answers: [samples] where there are two classes and one output, else as outputs[..., 0].

    Raises:
        UsageError: the answers do not fit the outputs, or name classes that there are not.
    """
    return _two_classes(outputs, y).astype(np.int64) if is_binary(outputs) else _classes(outputs, y)


def _accuracy(outputs: Array, y: Array, _: Metric) -> float:
    answers = outputs[:, 0] > 0.5 if is_binary(outputs) else outputs.argmax(axis=-1)
    return float(np.mean(answers == labels(outputs, y)))


def _top_k(outputs: Array, y: Array, metric: Metric) -> float:
    best = np.argsort(-outputs, axis=-1, kind="stable")[..., : metric.k]
    return float(np.mean((best == _classes(outputs, y)[..., np.newaxis]).any(axis=-1)))


def _auc(outputs: Array, y: Array, _: Metric) -> float:
    from sklearn.metrics import roc_auc_score  # a second of imports that other scores need not pay

    classes = labels(outputs, y)
    if is_binary(outputs):
        outputs = np.hstack([1 - outputs, outputs])
    if len(np.unique(classes)) < 2:
        raise UsageError("AUC needs answers of at least two classes", "All evaluation samples have the same one.")
    if outputs.shape[-1] == 2:
        return float(roc_auc_score(classes == 1, outputs[:, 1]))
    # Quantized probabilities do not add up to one exactly; the score depends on their order within a column only.
    columns = [k for k in range(outputs.shape[-1]) if 0 < np.count_nonzero(classes == k) < len(classes)]
    return float(np.mean([roc_auc_score(classes == k, outputs[:, k]) for k in columns]))


def _mse(outputs: Array, y: Array, _: Metric) -> float:
    return float(np.mean(np.square(_residuals(outputs, y))))


def _mae(outputs: Array, y: Array, _: Metric) -> float:
    return float(np.mean(np.abs(_residuals(outputs, y))))


_BUILT_IN: dict[str, Callable[[Array, Array, Metric], float]] = {
    MetricKind.ACCURACY: _accuracy,
    MetricKind.TOP_K: _top_k,
    MetricKind.AUC: _auc,
    MetricKind.MSE: _mse,
    MetricKind.MAE: _mae,
}


def _classes(outputs: Array, y: Array) -> Array:
    """The class numbers of the answers, which may be one-hot or have a trailing axis of 1; [..] like outputs[.., c]."""
    wanted = outputs.shape[:-1]
    if y.shape == outputs.shape and outputs.shape[-1] > 1:
        _require_finite(y)
        return np.asarray(y.argmax(axis=-1))
    if y.size != np.prod(wanted):
        raise _misfit(outputs, y, "Give class numbers [samples] or one-hot rows [samples, classes].")
    classes = y.reshape(wanted)
    _require_finite(classes)
    _require_whole(classes, outputs.shape[-1])
    _require_within(classes, outputs.shape[-1])
    return classes


def _two_classes(outputs: Array, y: Array) -> Array:
    """Which answers are the positive class, for a network with one output; they may be probabilities too."""
    if y.size != len(outputs):
        raise _misfit(outputs, y, "Give one answer for each sample, 0 or 1.")
    classes = y.reshape(len(outputs))
    _require_finite(classes)
    _require_within(classes, 2)
    return classes > 0.5


def _require_finite(answers: Array) -> None:
    """By itself, since NaN is neither below nor above anything."""
    broken = ~np.isfinite(answers)
    if broken.any():
        raise UsageError(
            f"{np.count_nonzero(broken):,} of {answers.size:,} answers are NaN or infinite",
            f"The first is that of sample {int(np.argwhere(broken)[0][0])}; nothing is right or wrong for it.",
            "Leave these samples out, or give them answers.",
        )


def _require_whole(answers: Array, classes: int) -> None:
    broken = answers != np.round(answers) if answers.dtype.kind == "f" else np.zeros(answers.shape, np.bool_)
    if broken.any():
        raise UsageError(
            f"{np.count_nonzero(broken):,} of {answers.size:,} answers are not whole numbers",
            f"The first is {answers[broken][0]:g}; no class has that number, so no output could be right.",
            f"Give class numbers from 0 to {classes - 1}, or choose a metric for numbers (--metric mse).",
        )


def _require_within(answers: Array, classes: int) -> None:
    outside = (answers < 0) | (answers > classes - 1)
    if outside.any():
        lowest, highest = float(answers.min()), float(answers.max())
        raise UsageError(
            f"{np.count_nonzero(outside):,} of {answers.size:,} answers name classes that the network does not have",
            f"They go from {lowest:g} to {highest:g}, its classes from 0 to {classes - 1}.",
            _renumbering(lowest, highest, classes),
        )


def _renumbering(lowest: float, highest: float, classes: int) -> str:
    """What makes class numbers of answers in such a range."""
    if lowest >= 1 and highest == classes > 1:
        return "Subtract 1: classes are counted from 0."
    if (lowest, highest) == (-1, classes - 2):
        return "Add 1: classes are counted from 0."
    if (lowest, highest, classes) == (-1, 1, 2):
        return "Give 0 in place of -1: the two classes are 0 and 1."
    return (
        "Number the classes as the network's outputs are, from 0; where the answers are no classes, choose a metric "
        "for numbers (--metric mse)."
    )


def _misfit(outputs: Array, y: Array, remedy: str) -> UsageError:
    return UsageError(f"the answers have the shape {list(y.shape)}, the outputs {list(outputs.shape)}", remedy=remedy)


def _residuals(outputs: Array, y: Array) -> Array:
    if y.size != outputs.size:
        raise _misfit(outputs, y, "Give as many answers as the network has outputs.")
    return np.subtract(outputs, y.reshape(outputs.shape), dtype=np.float64)
