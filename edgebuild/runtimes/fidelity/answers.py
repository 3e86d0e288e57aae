"""Answers of two networks to the same samples: which changed, of which classes, from what to what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild import metrics
from edgebuild.core.losses import Answers, ChangedInput, ClassChange, ConfusionChange, OutputLoss
from edgebuild.core.metric import Metric, Task
from edgebuild.core.settings import MetricKind
from edgebuild.data.given import Array
from edgebuild.runtimes.fidelity import confidence, logits
from edgebuild.runtimes.fidelity.signal import Sums, chunks

_MOST_INPUTS = 100
_MOST_CELLS = 1000

_Classes = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


class Judged(NamedTuple):
    """What a network answered: the class [samples, places], and whether it was right as the score counts it."""

    classes: _Classes
    right: _Flags


def compare(exact: Array, given: Array, y: Array, metric: Metric) -> OutputLoss:
    """What the scored output lost.

    Args:
        exact: the float network's outputs, [samples, ...]. The shorter of the two decides how many are compared.
        given: the artifact's, dequantized, of the same shape.
        y: the answers, as `metrics.score` took them.
        metric: tells whether there are classes.
    """
    samples = min(len(exact), len(given))
    sums, differences = Sums(), np.zeros(samples)
    for rows in chunks(exact, samples):
        sums.add(exact[rows], given[rows])
        moved = np.subtract(exact[rows], given[rows], dtype=np.float64).reshape(rows.stop - rows.start, -1)
        differences[rows] = np.sqrt(np.mean(np.square(moved), axis=1))
    if not metric.classifies and not metric.says_yes_or_no:
        better, worse = _nearer(*(_errors(outputs, y, samples, metric) for outputs in (exact, given)))
        return OutputLoss(
            samples=samples,
            signal=sums.signal(),
            inputs=_moved(differences),
            better=better,
            worse=worse,
            fell_by=_error_rose_by(exact, given, y, samples, metric),
        )
    # They were scored, and so are known to fit the outputs.
    labels = metrics.labels(exact[:samples], np.asarray(y[:samples]), metric).reshape(samples, -1)
    before, after = (_judged(outputs, labels, samples, metric) for outputs in (exact, given))
    better, worse = _nearer(*((~judged.right).sum(axis=1) for judged in (before, after)))
    ours, theirs = (_as_classes(outputs[:samples], metric) for outputs in (exact, given))
    return OutputLoss(
        samples=samples,
        signal=sums.signal(),
        logits=logits.compare(ours, theirs),
        answers=_answers(labels, before, after, metric, exact.shape[-1]),
        confidence=confidence.compare(*_counted(ours, theirs, labels)),
        inputs=_changed(labels, before, after, differences),
        better=better,
        worse=worse,
        fell_by=_right_fell_by(before, after, metric),
    )


def _right_fell_by(before: Judged, after: Judged, metric: Metric) -> tuple[float, float] | None:
    """How much smaller the share of a sample's predictions is that are right, where it has several."""
    if metric.name not in (MetricKind.ACCURACY, MetricKind.TOP_K) or before.right.shape[1] == 1:
        return None
    counted = np.count_nonzero(before.classes != metrics.IGNORED) / len(before.classes)
    fell = np.sum(before.right, axis=1) - np.sum(after.right, axis=1, dtype=np.float64)
    return _mean_and_deviation(fell / counted)


def _error_rose_by(exact: Array, given: Array, y: Array, samples: int, metric: Metric) -> tuple[float, float] | None:
    """How much larger a sample's error is, where the score is a mean of such."""
    if metric.task != Task.VALUES or metric.name not in (MetricKind.MSE, MetricKind.MAE):
        return None
    rose = np.zeros(samples)
    for rows in chunks(exact, samples):
        wanted = np.asarray(y[rows])
        before, after = (_error(metrics.residuals(outputs[rows], wanted), metric) for outputs in (exact, given))
        rose[rows] = after - before
    return _mean_and_deviation(rose)


def _error(left: Array, metric: Metric) -> Array:
    """The error of each sample as the metric counts it."""
    flat = left.reshape(len(left), -1)
    return np.asarray(np.mean(np.square(flat) if metric.name == MetricKind.MSE else np.abs(flat), axis=1))


def _mean_and_deviation(values: Array) -> tuple[float, float] | None:
    return (float(np.mean(values)), float(np.std(values, ddof=1))) if len(values) > 1 else None


def _counted(ours: Array, theirs: Array, labels: _Classes) -> tuple[Array, Array, _Classes]:
    """Outputs and labels without those that are ignored."""
    counts = labels.reshape(-1) != metrics.IGNORED
    if counts.all():
        return ours, theirs, labels.reshape(-1)
    first, second = (outputs.reshape(len(counts), -1)[counts] for outputs in (ours, theirs))
    return first, second, labels.reshape(-1)[counts]


def _as_classes(outputs: Array, metric: Metric) -> Array:
    """Outputs [..., classes], or [answers, 1] where each is the probability of yes."""
    return outputs.reshape(-1, 1) if metric.says_yes_or_no else outputs


def _errors(outputs: Array, y: Array, samples: int, metric: Metric) -> Array:
    """The mean square error of each sample; zeros where the metric is none of values."""
    found = np.zeros(samples)
    for rows in chunks(outputs, samples) if metric.task == Task.VALUES else ():
        left = metrics.residuals(outputs[rows], np.asarray(y[rows]))
        found[rows] = np.mean(np.square(left).reshape(len(left), -1), axis=1)
    return found


def _nearer(before: Array, after: Array) -> tuple[int, int]:
    """How many samples are nearer to their labels, and how many farther."""
    return int(np.count_nonzero(after < before)), int(np.count_nonzero(after > before))


def _judged(outputs: Array, labels: _Classes, samples: int, metric: Metric) -> Judged:
    classes, right = np.zeros_like(labels), np.zeros(labels.shape, np.bool_)
    for rows in chunks(outputs, samples):
        wanted = labels[rows]
        classes[rows] = metrics.predictions(outputs[rows], metric).reshape(wanted.shape)
        if metric.name == MetricKind.TOP_K:
            part = outputs[rows].reshape(rows.stop - rows.start, -1, outputs.shape[-1])
            best = np.argsort(-part, axis=-1, kind="stable")[..., : metric.k]
            right[rows] = (best == wanted[..., np.newaxis]).any(axis=-1)
        else:
            right[rows] = classes[rows] == wanted
    classes[labels == metrics.IGNORED] = metrics.IGNORED
    right[labels == metrics.IGNORED] = True  # nothing there is right or wrong
    return Judged(classes, right)


def _answers(labels: _Classes, before: Judged, after: Judged, metric: Metric, width: int) -> Answers:
    """What changed, by class; of several labels by the label, for which there is no confusion."""
    changed = before.classes != after.classes
    lost, gained = before.right & ~after.right, after.right & ~before.right
    several = metric.task == Task.LABELS
    return Answers(
        total=int(np.count_nonzero(labels != metrics.IGNORED)),
        changed=int(np.count_nonzero(changed)),
        lost=int(np.count_nonzero(lost)),
        gained=int(np.count_nonzero(gained)),
        classes=_by_class(_numbered(labels, width) if several else labels, lost, gained),
        confusion=() if several else _confusion(labels[changed], before.classes[changed], after.classes[changed]),
    )


def _numbered(labels: _Classes, width: int) -> _Classes:
    """For each yes or no which of the labels it is of."""
    return np.broadcast_to(np.arange(labels.shape[1]) % width, labels.shape)


def _by_class(labels: _Classes, lost: _Flags, gained: _Flags) -> tuple[ClassChange, ...]:
    numbers = np.unique(labels[lost | gained])
    found = [
        ClassChange(
            label=int(number),
            lost=int(np.count_nonzero(lost & (labels == number))),
            gained=int(np.count_nonzero(gained & (labels == number))),
        )
        for number in numbers
    ]
    return tuple(sorted(found, key=lambda item: (-item.lost, -item.gained, item.label)))


def _confusion(labels: _Classes, before: _Classes, after: _Classes) -> tuple[ConfusionChange, ...]:
    if not labels.size:
        return ()
    cells, counts = np.unique(np.stack([labels, before, after], axis=1), axis=0, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:_MOST_CELLS]
    return tuple(
        ConfusionChange(label=int(label), before=int(was), after=int(now), count=int(counts[place]))
        for place in largest
        for label, was, now in [cells[place]]
    )


def _changed(labels: _Classes, before: Judged, after: Judged, differences: Array) -> tuple[ChangedInput, ...]:
    changed = before.classes != after.classes
    lost = np.count_nonzero(before.right & ~after.right, axis=1)
    rows = np.flatnonzero(changed.any(axis=1))
    order = np.lexsort((rows, -differences[rows], -lost[rows]))
    single = labels.shape[1] == 1
    return tuple(
        ChangedInput(
            index=int(row),
            difference=float(differences[row]),
            label=int(labels[row, 0]) if single else None,
            before=int(before.classes[row, 0]) if single else None,
            after=int(after.classes[row, 0]) if single else None,
            share=float(changed[row].mean()),
        )
        for row in rows[order][:_MOST_INPUTS]
    )


def _moved(differences: Array) -> tuple[ChangedInput, ...]:
    order = np.argsort(-differences, kind="stable")[:_MOST_INPUTS]
    return tuple(ChangedInput(index=int(row), difference=float(differences[row])) for row in order if differences[row])
