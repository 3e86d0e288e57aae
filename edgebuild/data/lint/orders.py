"""Numbers of classes that labels and outputs do not share: which renumbering makes predictions right, beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.stats import sign_test

_MOST_ORDERS = 20  # of classes that are renumbered, in words
_SURE = 1e-5  # there are many circles to choose from
_TIMES_BETTER = 2

_Numbers = npt.NDArray[np.int64]
_Order = dict[int, int]


def counted(labels: _Numbers, predicted: _Numbers, classes: int) -> _Numbers:
    """How often samples of each class are predicted as each, [classes, classes]."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def exchanged(labels: _Numbers, predicted: _Numbers, classes: int) -> _Order:
    """The classes that have each other's numbers, and which number each should have.

    An order that is chosen by samples fits these in any case. So it is chosen by one half of the samples of each class
    and counted on the other, and the other way round: of each circle of classes that change their numbers all must have
    at least twice as many right predictions, and together more than chance would give them (sign test of the samples
    that are right with one order alone).

    Args:
        labels: of samples, [samples].
        predicted: the class that the network predicts, [samples].
        classes: how many there are.

    Returns:
        For each label the number that is meant; of all such circles together, and nothing of the other labels.
    """
    first = _is_first_half(labels)
    halves = [counted(labels[half], predicted[half], classes) for half in (first, ~first)]
    orders = [_best(half) for half in halves]
    found: _Order = {}
    for circle in _circles(_best(halves[0] + halves[1])):
        seen = [_seen(label, orders, halves) for label in circle]
        if any(each.meant < max(1, _TIMES_BETTER * each.as_they_are) for each in seen):
            continue
        both = sum(each.both for each in seen)
        more, fewer = sum(each.meant for each in seen) - both, sum(each.as_they_are for each in seen) - both
        if sign_test(more, fewer) < _SURE:
            found |= circle
    return dict(sorted(found.items()))


class _Seen(NamedTuple):
    """How many samples of a label are right with the number that the other half chose, as they are, and with both."""

    meant: int
    as_they_are: int
    both: int


def _seen(label: int, orders: Sequence[_Order], halves: Sequence[_Numbers]) -> _Seen:
    pairs = [(order.get(label, label), other) for order, other in zip(orders, reversed(halves), strict=True)]
    return _Seen(
        sum(int(other[label, meant]) for meant, other in pairs),
        sum(int(other[label, label]) for _, other in pairs),
        sum(int(other[label, label]) for meant, other in pairs if meant == label),
    )


def _is_first_half(labels: _Numbers) -> npt.NDArray[np.bool_]:
    """Every other sample of each class."""
    order = np.argsort(labels, kind="stable")
    first = np.zeros(len(labels), np.bool_)
    starts = np.searchsorted(labels[order], labels[order])
    first[order] = (np.arange(len(labels)) - starts) % 2 == 0
    return first


def _best(counts: _Numbers) -> _Order:
    """A number for each label that has samples, none of them twice, the most frequent predictions first.

    Greedy: where predictions are right more often than not no other choice is better, and else nothing is found.
    """
    rows, columns = np.nonzero(counts)
    how_often = counts[rows, columns]
    # Of equally frequent ones the label's own number.
    taken: set[int] = set()
    order: _Order = {}
    for place in np.lexsort((rows != columns, -how_often)):
        label, meant = int(rows[place]), int(columns[place])
        if label not in order and meant not in taken:
            order[label] = meant
            taken.add(meant)
    return order


def _circles(order: Mapping[int, int]) -> Iterator[_Order]:
    """The labels that change numbers among each other, each circle by itself."""
    left = {label: meant for label, meant in order.items() if label != meant}
    while left:
        start, meant = left.popitem()
        circle = {start: meant}
        while meant in left:
            following = left.pop(meant)
            circle[meant] = following
            meant = following
        if meant == start:
            yield circle


def remedy(order: Mapping[int, int], classes: int, names: Sequence[str]) -> str:
    """What to do about labels of which each means another number.

    Args:
        order: for each label the number that is meant; labels that it does not hold keep theirs.
        classes: how many there are.
        names: of the classes, if they are known.
    """
    words = _orders(order, classes)
    return f"Renumber y_eval, and y_train with it: {words}{_listed(_whole(order, names), names)}."


def _whole(order: Mapping[int, int], names: Sequence[str]) -> Mapping[int, int]:
    return {**{label: label for label in range(len(names))}, **order}


def _listed(order: Mapping[int, int], names: Sequence[str]) -> str:
    """The setting that renumbers classes whose names are known."""
    if not names or sorted(order.values()) != list(range(len(names))):
        return ""
    label_of = {meant: label for label, meant in order.items()}
    listed = ", ".join(f'"{names[label_of[place]]}"' for place in range(len(names)))
    return f"; or list the classes in the order of the outputs: [data] labels = [{listed}]"


def _orders(order: Mapping[int, int], classes: int) -> str:
    """A renumbering in words: a shift where it is one."""
    shifts = {(meant - label) % classes for label, meant in order.items()}
    if len(shifts) == 1 and len(order) == classes:
        (shift,) = shifts
        return f"y = (y + {shift}) % {classes}"
    changed = [f"{label} is {meant}" for label, meant in order.items() if label != meant]
    listed = ", ".join(changed[:_MOST_ORDERS]) + (", ..." if len(changed) > _MOST_ORDERS else "")
    return listed + (" (the other classes keep their numbers)" if len(changed) < classes else "")
