"""Labels and outputs read alike: class numbers, or yes and no, or values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgebuild.core.metric import Metric, Task
from edgebuild.data.given import Array
from edgebuild.errors import UsageError
from edgebuild.metrics.ignoring import IGNORED, filled, marked

_MOST_NAMED = 4
_OR_VALUES = ", or choose a metric for numbers (--metric mse)"


def is_binary(outputs: Array) -> bool:
    """Whether a network has one output, the probability of class 1 against class 0."""
    return outputs.ndim == 2 and outputs.shape[1] == 1


def task_of(metric: Metric, outputs: Array) -> Task:
    """What labels are taken to be: as it was settled, else by the shape of the outputs alone."""
    if metric.task is not None:
        return metric.task
    return Task.BINARY if is_binary(outputs) else Task.CLASSES


def predictions(outputs: Array, metric: Metric) -> npt.NDArray[np.int64]:
    """What outputs say, for a metric that compares classes.

    Args:
        outputs: [samples, ..., classes], or one value for each yes or no.
        metric: tells which of both, and the threshold.

    Returns:
        Class numbers [samples, ...], or 0 and 1 of the shape of the outputs ([samples] of [samples, 1]).
    """
    if task_of(metric, outputs) == Task.CLASSES:
        return np.asarray(outputs.argmax(axis=-1), np.int64)
    said = np.asarray(outputs > (0.5 if metric.threshold is None else metric.threshold), np.int64)
    return said[:, 0] if is_binary(outputs) else said


def labels(outputs: Array, y: Array, metric: Metric) -> npt.NDArray[np.int64]:
    """The labels as numbers, of the shape of `predictions`; IGNORED where they say nothing.

    Raises:
        UsageError: the answers do not fit the outputs, or name classes that there are not.
    """
    said = y if metric.ignore is None else filled(y, metric.ignore)
    if task_of(metric, outputs) == Task.CLASSES:
        return marked(_classes(outputs, said).astype(np.int64), y, metric)
    return marked(_yes(outputs[:, 0] if is_binary(outputs) else outputs, said, metric), y, metric)


def residuals(outputs: Array, y: Array) -> npt.NDArray[np.float64]:
    """Outputs less labels, of the outputs' shape.

    Raises:
        UsageError: there are not as many labels as outputs.
    """
    if y.size != outputs.size:
        raise misfit(outputs, y, "Give as many answers as the network has outputs.")
    return np.subtract(outputs, y.reshape(outputs.shape), dtype=np.float64)


def taught(y: Array, metric: Metric) -> Array:
    """Labels as training takes them: 0 and 1 where others stand for no and yes, IGNORED for what is ignored."""
    if metric.says_yes_or_no and (metric.low, metric.high) != (0.0, 1.0):
        return marked((y > (metric.low + metric.high) / 2).astype(np.float32), y, metric)
    return y if metric.ignore is None else np.where(y == metric.ignore, IGNORED, y.astype(np.float32))


def _classes(outputs: Array, y: Array) -> Array:
    """The class numbers of the answers, which may be one-hot or have a trailing axis of 1; [..] like outputs[.., c]."""
    wanted = outputs.shape[:-1]
    if y.size == outputs.size and y.shape[-1] == outputs.shape[-1] > 1:
        require_finite(y)
        return np.asarray(y.reshape(outputs.shape).argmax(axis=-1))
    if y.size != np.prod(wanted):
        raise misfit(outputs, y, "Give class numbers [samples] or one-hot rows [samples, classes].")
    classes = y.reshape(wanted)
    require_classes(classes, outputs.shape[-1])
    return classes


def _yes(outputs: Array, y: Array, metric: Metric) -> npt.NDArray[np.int64]:
    """Which labels mean yes, of the outputs' shape; labels may be probabilities too."""
    if y.size != outputs.size:
        if outputs.ndim == 1:
            raise misfit(outputs[:, np.newaxis], y, "Give one answer for each sample, 0 or 1.")
        raise misfit(outputs, y, "Give 0 or 1 for each output.")
    given = y.reshape(outputs.shape)
    require_finite(given)
    _require_within(given, 2, metric.low, metric.high, are_values=True)
    return (given > (metric.low + metric.high) / 2).astype(np.int64)


def require_classes(answers: Array, classes: int, *, are_values: bool = False) -> None:
    """Refuse labels that are not whole numbers from 0 to `classes` - 1.

    Args:
        answers: class numbers.
        classes: how many there are.
        are_values: whether there are as many labels as outputs, so that a metric for numbers takes them too.
    """
    require_finite(answers)
    _require_whole(answers, classes, are_values=are_values)
    _require_within(answers, classes, are_values=are_values)


def require_finite(answers: Array) -> None:
    """Refuse labels that are NaN or infinite; by itself, since NaN is neither below nor above anything."""
    broken = ~np.isfinite(answers)
    if broken.any():
        raise UsageError(
            f"{np.count_nonzero(broken):,} of {answers.size:,} answers are NaN or infinite",
            f"The first is that of sample {int(np.argwhere(broken)[0][0])}; nothing is right or wrong for it.",
            "Leave these samples out, or give them answers.",
        )


def _require_whole(answers: Array, classes: int, *, are_values: bool) -> None:
    broken = answers != np.round(answers) if answers.dtype.kind == "f" else np.zeros(answers.shape, np.bool_)
    if broken.any():
        raise UsageError(
            f"{np.count_nonzero(broken):,} of {answers.size:,} answers are not whole numbers",
            f"The first is {answers[broken][0]:g}; no class has that number, so no output could be right.",
            f"Give class numbers from 0 to {classes - 1}{_OR_VALUES if are_values else ' or one-hot rows'}.",
        )


def _require_within(
    answers: Array, classes: int, least: float = 0.0, most: float | None = None, *, are_values: bool = False
) -> None:
    outside = (answers < least) | (answers > (classes - 1 if most is None else most))
    if outside.any():
        lowest, highest = float(answers.min()), float(answers.max())
        raise UsageError(
            f"{np.count_nonzero(outside):,} of {answers.size:,} answers name classes that the network does not have",
            f"They go from {lowest:g} to {highest:g}, its classes from 0 to {classes - 1}.",
            _renumbering(answers, classes)
            + (" Where they are no classes, choose a metric for numbers (--metric mse)." if are_values else ""),
        )


def _renumbering(answers: Array, classes: int) -> str:
    """What makes class numbers of answers that are whole numbers."""
    lowest, highest = float(answers.min()), float(answers.max())
    if lowest >= 1 and highest == classes > 1:
        return "Subtract 1: classes are counted from 0."
    if (lowest, highest) == (-1, classes - 2):
        return "Add 1: classes are counted from 0."
    if (lowest, highest, classes) == (-1, 1, 2):
        return "Give 0 in place of -1: the two classes are 0 and 1."
    values = np.unique(answers)
    if len(values) <= classes:
        examples = ", ".join(f"{place} for {value:g}" for place, value in enumerate(values[:_MOST_NAMED]))
        more = ", and so on" if len(values) > _MOST_NAMED else ""
        return f"Number the classes as the network's outputs are, from 0 ({examples}{more}, if that is their order)."
    return (
        f"They are {len(values):,} different ones: number the classes as the network's outputs are, from 0, and leave "
        f"out what is none of its {classes:,}."
    )


def misfit(outputs: Array, y: Array, remedy: str) -> UsageError:
    """Labels of another shape than outputs."""
    return UsageError(f"the answers have the shape {list(y.shape)}, the outputs {list(outputs.shape)}", remedy=remedy)
