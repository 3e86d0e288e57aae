"""Answers of two networks to the same samples: which changed, of which classes, from what to what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild import metrics
from edgebuild.core.losses import Answers, ChangedInput, ClassChange, ConfusionChange, OutputLoss
from edgebuild.core.settings import Metric, MetricKind
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
    if not metric.classifies:
        return OutputLoss(samples=samples, signal=sums.signal(), inputs=_moved(differences))
    # They were scored, and so are known to fit the outputs.
    labels = metrics.labels(exact[:samples], np.asarray(y[:samples])).reshape(samples, -1).astype(np.int64)
    before, after = (_judged(outputs, labels, samples, metric) for outputs in (exact, given))
    return OutputLoss(
        samples=samples,
        signal=sums.signal(),
        logits=logits.compare(exact[:samples], given[:samples]),
        answers=_answers(labels, before, after),
        confidence=confidence.compare(exact[:samples], given[:samples], labels.reshape(-1)),
        inputs=_changed(labels, before, after, differences),
    )


def _judged(outputs: Array, labels: _Classes, samples: int, metric: Metric) -> Judged:
    classes, right = np.zeros_like(labels), np.zeros(labels.shape, np.bool_)
    for rows in chunks(outputs, samples):
        part = outputs[rows].reshape(rows.stop - rows.start, -1, outputs.shape[-1])
        wanted = labels[rows]
        classes[rows] = part[..., 0] > 0.5 if metrics.is_binary(outputs) else part.argmax(axis=-1)
        if metric.name == MetricKind.TOP_K:
            best = np.argsort(-part, axis=-1, kind="stable")[..., : metric.k]
            right[rows] = (best == wanted[..., np.newaxis]).any(axis=-1)
        else:
            right[rows] = classes[rows] == wanted
    return Judged(classes, right)


def _answers(labels: _Classes, before: Judged, after: Judged) -> Answers:
    changed = before.classes != after.classes
    lost, gained = before.right & ~after.right, after.right & ~before.right
    return Answers(
        total=labels.size,
        changed=int(np.count_nonzero(changed)),
        lost=int(np.count_nonzero(lost)),
        gained=int(np.count_nonzero(gained)),
        classes=_by_class(labels, lost, gained),
        confusion=_confusion(labels[changed], before.classes[changed], after.classes[changed]),
    )


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
