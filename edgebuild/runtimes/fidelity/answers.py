"""Predictions of two networks on the same samples: which changed, and how sure each network is of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild import metrics
from edgebuild.core.losses import (
    Answers,
    ChangedInput,
    ClassChange,
    Confidence,
    ConfidenceOf,
    ConfusionChange,
    OutputLoss,
    Signal,
)
from edgebuild.core.metric import Metric, Task
from edgebuild.core.settings import MetricKind
from edgebuild.data.given import Array
from edgebuild.runtimes.fidelity.signal import Sums, chunks

_MOST_INPUTS = 100
_MOST_CELLS = 1000

_Classes = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]
_BINS = 15
# How far the float network's probabilities may be from adding up to one.
_TOLERANCE = 1e-3
# Softmax and sigmoid write multiples of 1/256 in int8 and of this in int16, whatever they are given.
_STEP = 2.0**-15
# Below this float32 knows no probability, and so no logit; next to one it knows none nearer than 1e-7.
_LEAST, _LEAST_OF_TWO = 1e-30, 1e-7


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
        logits=compare_logits(ours, theirs),
        answers=_answers(labels, before, after, metric, exact.shape[-1]),
        confidence=compare_confidence(*_counted(ours, theirs, labels)),
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


def compare_confidence(exact: Array, given: Array, labels: npt.NDArray[np.int64]) -> Confidence | None:
    """The expected calibration errors of the float network and of the artifact; None where nothing is a probability.

    Args:
        exact: the float network's outputs, [..., classes], or [samples, 1] with the probability of class 1. What they
            are is seen from these: quantized probabilities add up to one only nearly.
        given: the artifact's.
        labels: class numbers, one for each answer.
    """
    of = _kind(exact)
    if of is None:
        return None
    errors = []
    for outputs in (exact, given):
        top, classes = _most_likely(outputs, of)
        errors.append(expected_calibration_error(top, classes == labels))
    return Confidence(of=of, bins=_BINS, baseline=errors[0], artifact=errors[1])


def _kind(outputs: Array) -> ConfidenceOf | None:
    """What a float network's outputs are: probabilities, or logits; None for neither (independent sigmoids, say)."""
    within = bool(outputs.min() >= 0 and outputs.max() <= 1 + _TOLERANCE)
    if outputs.shape[-1] == 1:
        # A score holds a single output against 0.5: it can be no logit.
        return ConfidenceOf.OUTPUTS if within and metrics.is_binary(outputs) else None
    if not within:
        return ConfidenceOf.SOFTMAX
    return ConfidenceOf.OUTPUTS if np.allclose(outputs.sum(axis=-1), 1, atol=_TOLERANCE) else None


def expected_calibration_error(confidence: Array, right: npt.NDArray[np.bool_], bins: int = _BINS) -> float:
    """The mean gap between confidence and accuracy, over bins of equal width weighted by their size.

    Guo et al. 2017, "On calibration of modern neural networks", section 2, equation 3: bin m holds the confidences in
    ((m - 1) / M, m / M].

    Args:
        confidence: [n] probabilities of the predicted classes.
        right: [n] whether the predictions were right.
        bins: M.
    """
    places = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, np.asarray(confidence, np.float64) - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _most_likely(outputs: Array, of: ConfidenceOf) -> tuple[Array, Array]:
    """The probability of the predicted class and the class, each [answers]."""
    rows = np.asarray(outputs).reshape(-1, outputs.shape[-1])
    if rows.shape[1] == 1:
        positive = rows[:, 0] > 0.5
        return np.where(positive, rows[:, 0], 1 - rows[:, 0]), positive.astype(np.int64)
    classes = rows.argmax(axis=1)
    if of == ConfidenceOf.OUTPUTS:
        return rows.max(axis=1), classes
    # The largest logit's own share: exp(0) over the sum.
    return 1 / np.exp(rows - rows.max(axis=1, keepdims=True)).sum(axis=1), classes


def compare_logits(exact: Array, given: Array) -> Signal | None:
    """The signal of the logits that outputs were made of.

    Args:
        exact: the float network's outputs, [samples, ..., classes] probabilities, or [samples, 1] that of class 1.
        given: the artifact's, of the same shape.

    Returns:
        None where the outputs are not probabilities, or where the artifact's are multiples of a step, which no logits
        can be had of.
    """
    if _kind(exact) != ConfidenceOf.OUTPUTS or _is_rounded(given):
        return None
    sums = Sums()
    for rows in chunks(exact, len(exact)):
        sums.add(_logits(exact[rows]), _logits(given[rows]))
    return sums.signal()


def _is_rounded(probabilities: Array) -> bool:
    steps = (np.asarray(probabilities[rows], np.float64) / _STEP for rows in chunks(probabilities, len(probabilities)))
    return all(bool(np.all(part == np.rint(part))) for part in steps)


def _logits(probabilities: Array) -> Array:
    """Of classes: their logits less the mean of these, which a softmax does not tell; of class 1 alone: its logit."""
    p = np.asarray(probabilities, np.float64)
    if p.shape[-1] == 1:
        p = np.clip(p, _LEAST_OF_TWO, 1 - _LEAST_OF_TWO)
        return np.log(p) - np.log1p(-p)
    logits = np.log(np.maximum(p, _LEAST))
    centered: Array = logits - logits.mean(axis=-1, keepdims=True)
    return centered
