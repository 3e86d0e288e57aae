"""Answers that are no class numbers or not the network's, classes without samples, and one class in place of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgebuild.core.finding import Code, Finding, Gravity
from edgebuild.data.given import Array
from edgebuild.data.lint import orders
from edgebuild.data.lint.subject import Part, Subject
from edgebuild.stats import NORMAL, at_most

_PLENTY = 8  # samples for each class, of which none should be left out
_BY_CHANCE = 0.1
_DOMINANCE = 0.6  # of the way from an equal share to all samples
_NAMED = 5
_SURE_OF_AN_ORDER = 1e-9  # there are many orders to choose from
_SURE = 1e-3  # that a network does worse than guessing


def labels(subject: Subject) -> Iterator[Finding]:
    """Answers that name no class of the network."""
    # Calibration answers are checked where they were not drawn from train with the rest.
    own = subject.parts if subject.train is None or subject.train.y is None else (subject.evaluation, subject.train)
    for part in filter(None, own if subject.classes else ()):
        numbers = _numbers(part, subject.classes)
        if numbers is None:
            continue
        broken = ~np.isfinite(numbers) | (numbers != np.round(numbers))
        if broken.any():
            yield Finding(
                code=Code.NOT_INTEGERS,
                what=f"{np.count_nonzero(broken):,} of {len(numbers):,} {part.split} answers are not whole numbers",
                why=f"The first is {numbers[broken][0]:g}; the metric compares them with class numbers.",
                remedy=f"Give class numbers from 0 to {subject.classes - 1} or one-hot rows.",
            )
            continue
        outside = (numbers < 0) | (numbers >= subject.classes)
        if outside.any():
            yield _outside(part, numbers, int(np.count_nonzero(outside)), subject.classes)


def coverage(subject: Subject) -> Iterator[Finding]:
    """Classes that calibration or evaluation do not hold."""
    known = _expected(subject)
    for part in (subject.calibration, subject.evaluation):
        numbers = _valid(part, subject.classes)
        if numbers is None or len(known) < 2:
            continue
        missing = sorted(set(known) - set(numbers.tolist()))
        if missing and _surprising(len(missing), len(known), len(numbers), _mass(subject, missing, len(known))):
            assert part is not None
            yield _missing(part, missing, known, subject)


def balance(subject: Subject) -> Iterator[Finding]:
    """One class that stands for nearly all samples."""
    known = _known(subject)
    if len(known) < 2:
        known = _expected(subject)
    if not known:
        return
    limit = 1 / len(known) + _DOMINANCE * (1 - 1 / len(known))
    for part in (subject.calibration, subject.evaluation if subject.counts_hits else None):
        numbers = _valid(part, subject.classes)
        if part is None or numbers is None or len(numbers) < _PLENTY:
            continue
        values, counts = np.unique(numbers, return_counts=True)
        share, first = counts.max() / len(numbers), int(values[counts.argmax()])
        if share >= limit and not (part is subject.calibration and _common(subject, first) >= share / 1.5):
            yield _dominated(part, share, _name(first, subject.labels))


def chance(subject: Subject) -> Iterator[Finding]:
    """A float network that is right less often than guessing is: its classes are hardly those of the answers."""
    if subject.evaluation is None or subject.hits is None or subject.classes < 2:
        return
    hits, total, share = subject.hits, subject.evaluation.total, 1 / subject.classes
    renumbered = (_renumbered(subject) if guesses(subject) else None) or _exchanged(subject)
    if renumbered is not None:
        yield renumbered
        return
    if hits >= share * total or at_most(hits, total, share) >= _SURE:
        return
    yield Finding(
        code=Code.BELOW_CHANCE,
        what=f"the float network answers {hits:,} of {total:,} evaluation samples right: fewer than by guessing",
        why=f"Guessing among {subject.classes} classes is right in {100 * share:.3g}% of them, and hits so few less "
        "than once in 1,000 times. The answers are likely numbered in another order than the outputs, or shifted.",
        remedy="Number y_eval as the network's outputs are ordered, from 0 (`labels` name them in that order), and see "
        "that the samples are prepared as in training.",
    )


def guesses(subject: Subject) -> bool:
    """Whether the float network is right no more often than by always saying the most common class, but for chance."""
    numbers = _valid(subject.evaluation, subject.classes)
    if numbers is None or subject.hits is None or subject.classes < 2 or subject.evaluation is None:
        return False
    total = subject.evaluation.total
    common = float(np.unique(numbers, return_counts=True)[1].max()) / len(numbers)
    return subject.hits <= total * common + NORMAL * math.sqrt(total * common * (1 - common))


def confusion(subject: Subject, x: Sequence[Array]) -> npt.NDArray[np.int64] | None:
    """How often evaluation samples of each class [classes, classes] are predicted as each.

    Args:
        subject: with a network that can be looked into.
        x: the samples of the evaluation part, as they are or changed.

    Returns:
        None where the outputs do not show classes.
    """
    found = predicted(subject, x)
    return None if found is None else orders.counted(*found, subject.classes)


def predicted(subject: Subject, x: Sequence[Array]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """The labels and the predictions of evaluation samples, each [samples]; as `confusion`, which counts them."""
    part, numbers = subject.evaluation, _valid(subject.evaluation, subject.classes)
    if part is None or numbers is None or subject.view is None or part.rows is None:
        return None
    outputs = subject.view.answers(x)
    is_single = outputs.ndim == 2 and (outputs.shape[1], subject.classes) == (1, 2)
    if not is_single and (outputs.ndim != 2 or outputs.shape[1] != subject.classes):
        return None
    # The view may have looked at fewer, spread evenly.
    seen = np.unique(np.linspace(0, len(part.rows) - 1, len(outputs)).astype(np.intp))
    if len(seen) != len(outputs):
        return None
    said = outputs[:, 0] > subject.threshold if is_single else outputs.argmax(axis=1)
    return numbers[part.rows[seen]], said.astype(np.int64)


def is_no_guess(right: int, counts: npt.NDArray[np.int64]) -> bool:
    """Whether so many right predictions are more than always saying the most common class could come to."""
    total = int(counts.sum())
    common = float(counts.sum(axis=1).max()) / total
    return common < 1 and right > common * total and at_most(total - right, total, 1 - common) < _SURE_OF_AN_ORDER


def _renumbered(subject: Subject) -> Finding | None:
    """Labels that are the network's classes under other numbers: each is, as a rule, predicted as another one."""
    counts = confusion(subject, subject.evaluation.x) if subject.evaluation is not None else None
    if counts is None:
        return None
    order = {int(label): int(counts[label].argmax()) for label in np.flatnonzero(counts.sum(axis=1))}
    if len(set(order.values())) < len(order) or all(label == meant for label, meant in order.items()):
        return None
    right, total = sum(int(counts[label, meant]) for label, meant in order.items()), int(counts.sum())
    if not is_no_guess(right, counts):
        return None
    as_it_is = int(np.trace(counts))
    return Finding(
        code=Code.BELOW_CHANCE,
        what="the labels are numbered in another order than the network's outputs",
        why=f"As they are, the float network predicts {as_it_is:,} of {total:,} evaluation samples right; renumbered, "
        f"{right:,}.",
        remedy=orders.remedy(order, subject.classes, subject.labels),
        level=Gravity.ERROR,
    )


def _exchanged(subject: Subject) -> Finding | None:
    """Some labels whose classes have each other's numbers, whatever the network makes of the rest."""
    found = predicted(subject, subject.evaluation.x) if subject.evaluation is not None else None
    order = orders.exchanged(*found, subject.classes) if found is not None else {}
    if found is None or not order:
        return None
    counts = orders.counted(*found, subject.classes)
    own, as_it_is = sum(int(counts[label].sum()) for label in order), sum(int(counts[label, label]) for label in order)
    right = sum(int(counts[label, meant]) for label, meant in order.items())
    if guesses(subject) and not is_no_guess(int(np.trace(counts)) - as_it_is + right, counts):
        return None
    return Finding(
        code=Code.LABEL_ORDER,
        what=f"{len(order)} of {subject.classes} classes seem to have each other's numbers",
        why=f"As they are, the float network predicts {as_it_is:,} of their {own:,} evaluation samples right; "
        f"renumbered, {right:,}.",
        remedy=orders.remedy(order, subject.classes, subject.labels),
        level=Gravity.ERROR if guesses(subject) else Gravity.WARNING,
    )


def _dominated(part: Part, share: float, name: str) -> Finding:
    if part.split == "calibration":
        why = "Ranges are chosen from what this class reaches and cut off what others do."
        remedy = "Take samples of all classes, about as often as they will come."
    else:
        why = f"A network that always answers {name} would be right in {share:.0%} of them."
        # AUC needs two classes at least.
        remedy = "Evaluate on samples of all classes" + (", or score with --metric auc." if share < 1 else ".")
    return Finding(
        code=Code.IMBALANCE, what=f"{share:.0%} of the {part.split} samples are of class {name}", why=why, remedy=remedy
    )


def _outside(part: Part, numbers: Array, count: int, classes: int) -> Finding:
    lowest, highest = int(numbers.min()), int(numbers.max())
    from_one = (lowest, highest) == (1, classes)
    return Finding(
        code=Code.OUT_OF_RANGE,
        what=f"{count:,} of {len(numbers):,} {part.split} answers name classes that the network does not have",
        why=f"They go from {lowest} to {highest}, its classes from 0 to {classes - 1}.",
        remedy="Subtract 1: classes are counted from 0."
        if from_one
        else "Number the classes as the network's outputs are, from 0.",
        level=Gravity.ERROR if part.split != "calibration" else Gravity.WARNING,
    )


def _missing(part: Part, missing: list[int], known: list[int], subject: Subject) -> Finding:
    names = ", ".join(_name(number, subject.labels) for number in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    if part.split == "calibration":
        why = f"No range was chosen with a sample of them in sight: {names}{more}."
        remedy = "Take calibration samples of all classes, or let more be drawn ([data] calibration_samples)."
    else:
        why = f"The score says nothing of them: {names}{more}."
        remedy = "Evaluate on samples of all classes."
    plural = "es" if len(missing) > 1 else ""
    what = f"{part.split} has no sample of {len(missing)} class{plural} of {len(known)}"
    return Finding(code=Code.MISSING_CLASSES, what=what, why=why, remedy=remedy)


def _surprising(missing: int, known: int, samples: int, mass: float) -> bool:
    """Whether so many classes are missing for another reason than that samples are few.

    Either there is room for several samples of each class, or a random choice of samples would rarely leave out as
    many (union bound over the sets of classes of that size).
    """
    if samples >= _PLENTY * known or mass >= 1:
        return True
    return samples * math.log1p(-mass) + math.log(math.comb(known, missing)) < math.log(_BY_CHANCE)


def _mass(subject: Subject, missing: list[int], known: int) -> float:
    """The share of train samples of the missing classes.

    Of those that train does not hold it says nothing: they count as if all classes were as frequent.
    """
    numbers = _valid(subject.train, subject.classes)
    if numbers is None:
        return len(missing) / known
    unseen = np.setdiff1d(missing, numbers).size / known
    return unseen + (1 - unseen) * float(np.isin(numbers, missing).mean())


def _common(subject: Subject, number: int) -> float:
    """How frequent a class is in the train split; 0 where that is not known."""
    numbers = _valid(subject.train, subject.classes)
    return float((numbers == number).mean()) if numbers is not None else 0.0


def _known(subject: Subject) -> list[int]:
    """The classes that there are: all that are named or occur; where only one split has answers, the outputs."""
    found = [numbers for part in subject.parts if (numbers := _valid(part, subject.classes)) is not None]
    named = len(subject.labels) if len(subject.labels) == subject.classes else 0
    if not named and len(found) == 1:
        named = subject.classes
    return sorted({*range(named), *(int(number) for numbers in found for number in np.unique(numbers))})


def _expected(subject: Subject) -> list[int]:
    """The classes that each split should hold: those there are, or all outputs where most of them occur nowhere.

    A few outputs without samples may be spare ones, such as a background class; but data that hold half of the classes
    or less are more likely cut from a file that is sorted by class, which leaves the same ones out of every split.
    """
    known = _known(subject)
    return list(range(subject.classes)) if known and 2 * len(known) <= subject.classes else known


def _valid(part: Part | None, classes: int) -> npt.NDArray[np.int64] | None:
    """The class numbers of a split, if they are all such."""
    numbers = _numbers(part, classes) if part is not None and classes else None
    if numbers is None or not np.isin(numbers, np.arange(classes)).all():
        return None
    return numbers.astype(np.int64)


def _numbers(part: Part, classes: int) -> npt.NDArray[np.float64] | None:
    """One number for each sample; None where the answers have another form than numbers or one-hot rows."""
    y = part.y
    if y is None or y.dtype.kind not in "fiub" or not len(y):
        return None
    if y.ndim > 1 and y.shape[-1] == classes > 1 and y.size == len(y) * classes:
        return np.asarray(y.reshape(len(y), classes).argmax(axis=1), np.float64)
    return np.asarray(y.reshape(len(y)), np.float64) if y.size == len(y) else None


def _name(number: int, names: tuple[str, ...]) -> str:
    return f"{names[number]} ({number})" if number < len(names) and names[number] != str(number) else str(number)
