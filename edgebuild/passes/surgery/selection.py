"""Which channels go: a global, greedy ranking by importance for each unit of cost saved, at few distinct widths.

A full-integer file holds a vector of zero points, 8 bytes a channel, for each number of channels that a layer with a
kernel makes: layers of one width share it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from edgebuild.passes.surgery.channels import Channels, Group
from edgebuild.passes.surgery.cost import Cost, ParameterBytes, Savings, full_counts, total
from edgebuild.passes.surgery.importance import Importance
from edgebuild.passes.surgery.operators import Operator

# A kernel may take as long for one step less, and save only with the next: so many are looked at together.
_STEPS_AHEAD = 4
# Of the goal: by so much the cost may be below it for the sake of widths that agree.
_BELOW = 0.02
_ZERO_POINT_BYTES = 8
# So much more importance may go than went for the goal: less than what estimates of it are sure of.
_TOLERANCE = 0.05


class Narrowed(NamedTuple):
    """What was decided for one group.

    Attributes:
        group: its name.
        layers: that produce its channels.
        before: the channels of the first of these.
        after: likewise.
        note: why nothing was taken, or an empty string.
    """

    group: str
    layers: tuple[str, ...]
    before: int
    after: int
    note: str = ""


class Selection(NamedTuple):
    """What to remove, and how far that gets.

    Attributes:
        removed: numbers of channel classes.
        groups: one entry for each group, in the order of the network.
        before: the cost of the network as it is.
        after: the cost that is left.
        notes: what the user should know: that the goal is out of reach, for one.
    """

    removed: frozenset[int]
    groups: tuple[Narrowed, ...]
    before: float
    after: float
    notes: tuple[str, ...]


def select(
    channels: Channels,
    operators: Sequence[Operator],
    importance: Importance,
    cost: Cost,
    *,
    keep: float,
    ranked_by: Cost | None = None,
    multiple: int = 8,
    least: float = 0.1,
    exclude: Collection[str] = (),
    agree: bool = False,
) -> Selection:
    """Take channels until the cost is down to a share of what it was.

    Again and again the group gives its least important channels (as many as the next smaller multiple asks) that loses
    the least importance for the cost it saves; what it saves is reckoned at the widths that the others have by then.
    The last of these may save more than is missing: what still fits is given back then, the most important first.

    Args:
        channels: the trace of the network.
        operators: its operators.
        importance: by channel class. Groups of which it says nothing are left alone.
        cost: what is to be saved.
        keep: the share of the cost that may be left, over 0 and at most 1.
        ranked_by: the cost that importance is held against, where it is another one: of all ways to the same number of
            MACs, say, the one that saves the most time.
        multiple: channel counts come down to multiples of it; groups that have no more than that stay.
        least: the share of its channels that each group keeps.
        exclude: layers whose channels all stay.
        agree: whether groups take over each other's widths where that makes the file smaller, see `_agreed`.

    Raises:
        ValueError: a share or the multiple is out of range.
    """
    if not 0 < keep <= 1 or not 0 <= least <= 1 or multiple < 1:
        raise ValueError(f"keep={keep}, least={least}, multiple={multiple}: out of range")
    search = _Search(
        channels,
        operators,
        importance,
        cost,
        cost if ranked_by is None else ranked_by,
        multiple=multiple,
        least=least,
        exclude=exclude,
    )
    before = total(operators, cost, search.counts)
    after = search.down_to(keep * before, agree=agree)
    notes = []
    if after > keep * before:
        notes.append(
            f"{after / before:.1%} of the {cost.unit} are left, {keep:.1%} were asked for: what else there is "
            "is excluded, at its least width or tied to what must stay"
        )
    return Selection(search.removed(), search.record(), before, after, tuple(notes))


class _Step(NamedTuple):
    """What a group could give next: it keeps `classes`, at so much importance for each unit of what it is ranked by."""

    classes: int
    price: float
    saved: float


class _Wider(NamedTuple):
    """What a group could have back: it keeps `classes` then, at this cost."""

    group: int
    classes: int
    regained: float
    costs: float


class _Search:
    """The greedy search. `counts` has the kept classes of each group so far."""

    def __init__(
        self,
        channels: Channels,
        operators: Sequence[Operator],
        importance: Importance,
        cost: Cost,
        ranked_by: Cost,
        *,
        multiple: int,
        least: float,
        exclude: Collection[str],
    ) -> None:
        self.counts = full_counts(channels)
        self._groups = channels.groups
        self._operators, self._cost = operators, cost
        self._savings = Savings(operators, cost, len(self._groups))
        self._worth = Savings(operators, ranked_by, len(self._groups))
        self._steps = [group.step(multiple) for group in self._groups]
        self._floors = [_floor(group, step, least) for group, step in zip(self._groups, self._steps, strict=True)]
        self._notes = [_note(group, importance, exclude) for group in self._groups]
        self._order = [sorted(group.classes, key=lambda item: (importance[item], item)) for group in self._groups]
        # What is lost by giving up the first n classes of the order.
        self._lost = [np.concatenate([[0.0], np.cumsum(importance[order])]) for order in self._order]

    def down_to(self, goal: float, *, agree: bool = False) -> float:
        """Take until the cost is no more than the goal or nothing is left to take; the cost then."""
        open_steps = {group: self._next(group) for group in range(len(self._groups))}
        left = total(self._operators, self._cost, self.counts)
        while left > goal:
            found = {group: step for group, step in open_steps.items() if step is not None}
            if not found:
                break
            group = min(found, key=lambda item: (found[item].price, item))
            self.counts[group] = found[group].classes
            left -= found[group].saved
            for touched in self._savings.touched(group):
                open_steps[touched] = self._next(touched)
        self._give_back(goal)
        spare = goal - total(self._operators, self._cost, self.counts)
        if agree and spare >= 0:
            self.counts = _agreed(self._choice(), self.counts, spare, max(spare, _BELOW * goal))
        return total(self._operators, self._cost, self.counts)

    def _choice(self) -> _Choice:
        """The widths that groups can have."""
        full = [len(order) for order in self._order]
        counts = [
            [most] if note else [*_lower(most, step, floor), most]
            for most, step, floor, note in zip(full, self._steps, self._floors, self._notes, strict=True)
        ]
        bytes_of = Savings(self._operators, ParameterBytes(), len(self._groups))
        return _Choice(self._groups, counts, self._lost_with, self._savings, bytes_of)

    def _lost_with(self, group: int, count: int) -> float:
        """The importance that is lost where a group keeps so many classes."""
        return 0.0 if self._notes[group] else float(self._lost[group][len(self._order[group]) - count])

    def _give_back(self, goal: float) -> None:
        """Widen groups again as long as one fits under the goal, each time the one that regains most."""
        spare = goal - total(self._operators, self._cost, self.counts)
        while spare >= 0:
            fitting = [
                wider for group in range(len(self._groups)) for wider in self._wider(group) if wider.costs <= spare
            ]
            if not fitting:
                break
            best = max(fitting, key=lambda wider: (wider.regained, -wider.costs, -wider.group))
            self.counts[best.group] = best.classes
            spare -= best.costs

    def _wider(self, group: int) -> Iterator[_Wider]:
        """The widths that a group has lost, each with what it costs to have it again."""
        now, step, order = self.counts[group], self._steps[group], self._order[group]
        for classes in sorted({*range(step * (now // step + 1), len(order), step), len(order)} - {now}):
            counts = [*self.counts]
            counts[group] = classes
            regained = self._lost_with(group, now) - self._lost_with(group, classes)
            yield _Wider(group, classes, regained, self._savings.of(group, now, counts))

    def _next(self, group: int) -> _Step | None:
        if self._notes[group]:
            return None
        found = []
        now = self.counts[group]
        for count in _lower(now, self._steps[group], self._floors[group])[:_STEPS_AHEAD]:
            saved = self._savings.of(group, count, self.counts)
            worth = self._worth.of(group, count, self.counts)
            if saved > 0 and worth > 0:
                lost = self._lost_with(group, count) - self._lost_with(group, now)
                found.append(_Step(count, lost / worth, saved))
        return min(found, key=lambda step: (step.price, -step.classes)) if found else None

    def removed(self) -> frozenset[int]:
        """The least important classes of each group."""
        gone = [order[: len(order) - count] for order, count in zip(self._order, self.counts, strict=True)]
        return frozenset(item for part in gone for item in part)

    def record(self) -> tuple[Narrowed, ...]:
        """What was decided for each group."""
        rows = []
        for group, count, note in zip(self._groups, self.counts, self._notes, strict=True):
            width = group.widths[0]
            rows.append(Narrowed(group.name, group.layers, len(group.classes) * width, count * width, note))
        return tuple(rows)


def _floor(group: Group, step: int, least: float) -> int:
    """The fewest classes that a group may keep: the share, rounded up to a step, and a step at least."""
    return max(1, math.ceil(least * len(group.classes) / step)) * step


def _lower(count: int, step: int, floor: int) -> list[int]:
    """The multiples of the step under a count and not under the floor, falling."""
    return list(range((count - 1) // step * step, floor - 1, -step))


def _note(group: Group, importance: Importance, exclude: Collection[str]) -> str:
    excluded = [layer for layer in group.layers if layer in exclude]
    if excluded:
        return f"{', '.join(excluded)} is excluded" if len(excluded) == 1 else f"{', '.join(excluded)} are excluded"
    if np.isnan(importance[list(group.classes)]).any():
        return "the criterion says nothing of its channels"
    return ""


class _Lost(Protocol):
    """The importance that is lost where a group, by its number, keeps so many classes."""

    def __call__(self, group: int, count: int) -> float:
        """The sum over the classes that go."""


class _Choice(NamedTuple):
    """What widths are chosen from.

    Attributes:
        groups: of channels.
        counts: how many classes each could keep.
        lost: what that loses.
        cost: what is to stay under the goal.
        bytes_of: of the parameters.
    """

    groups: Sequence[Group]
    counts: Sequence[Sequence[int]]
    lost: _Lost
    cost: Savings
    bytes_of: Savings


class _Move(NamedTuple):
    """Other counts of classes, what they save of the cost and of the bytes, and the importance that they lose more."""

    counts: list[int]
    saved: float = 0.0
    saved_bytes: float = 0.0
    lost: float = 0.0


def _agreed(choice: _Choice, counts: Sequence[int], spare: float, most: float) -> list[int]:
    """Counts of classes of which more have one width, as far as the file becomes smaller.

    Group by group takes over the width of another one; where that misses the goal, or goes further below it than need
    be, a second one does as well.

    Args:
        choice: the counts that there are.
        counts: of the classes that each group keeps.
        spare: by how much the cost is below the goal.
        most: by how much it may be.
    """
    whole = sum(choice.lost(group, count) for group, count in enumerate(counts))
    best, left = [*counts], _Move([], spare, 0.0, -_TOLERANCE * whole)
    while True:
        found = max(_moves(choice, best, left, most), key=lambda move: (move.saved_bytes, -move.lost), default=None)
        if found is None:
            return best
        best = found.counts
        left = left._replace(saved=left.saved + found.saved, lost=left.lost + found.lost)


def _moves(choice: _Choice, counts: list[int], left: _Move, most: float) -> Iterator[_Move]:
    """All that keeps to the goal and to the tolerance, and saves bytes."""
    now = _vectors_bytes(choice.groups, counts)
    for first in _steps(choice, _Move(counts)):
        pairs = [first] if 0 <= left.saved + first.saved <= most else _steps(choice, first)
        fitting = (each for each in pairs if 0 <= left.saved + each.saved <= most and left.lost + each.lost <= 0)
        found = min(fitting, key=lambda each: each.lost, default=None)
        if found is not None:
            total = found.saved_bytes + now - _vectors_bytes(choice.groups, found.counts)
            if total > 0:
                yield found._replace(saved_bytes=total)


def _steps(choice: _Choice, before: _Move) -> Iterator[_Move]:
    """One more group takes over a width that others have."""
    known = [_lengths(group, count) for group, count in zip(choice.groups, before.counts, strict=True)]
    for number, group in enumerate(choice.groups):
        others = frozenset[int]().union(*known[:number], *known[number + 1 :])
        now = before.counts[number]
        for count in choice.counts[number]:
            if count != now and _lengths(group, count) <= others:
                yield _Move(
                    [*before.counts[:number], count, *before.counts[number + 1 :]],
                    before.saved + choice.cost.of(number, count, before.counts),
                    before.saved_bytes + choice.bytes_of.of(number, count, before.counts),
                    before.lost + choice.lost(number, count) - choice.lost(number, now),
                )


def _lengths(group: Group, count: int) -> frozenset[int]:
    """The numbers of channels that the layers of a group make."""
    return frozenset(count * width for width in group.widths)


def _vectors_bytes(groups: Sequence[Group], counts: Sequence[int]) -> int:
    lengths = frozenset[int]().union(*map(_lengths, groups, counts))
    return _ZERO_POINT_BYTES * sum(lengths)
