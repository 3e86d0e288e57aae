"""Few distinct widths: what makes a file smaller at the same cost and next to no loss.

A full-integer file holds a vector of zero points, 8 bytes a channel, for each number of channels that a layer with a
kernel makes: layers of one width share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from edgebuild.passes.surgery.channels import Group
from edgebuild.passes.surgery.cost import Savings

_ZERO_POINT_BYTES = 8
# So much more importance may go than went for the goal: less than what estimates of it are sure of.
_TOLERANCE = 0.05


class Lost(Protocol):
    """The importance that is lost where a group, by its number, keeps so many classes."""

    def __call__(self, group: int, count: int) -> float:
        """The sum over the classes that go."""


class Choice(NamedTuple):
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
    lost: Lost
    cost: Savings
    bytes_of: Savings


class _Move(NamedTuple):
    """Other counts of classes, what they save of the cost and of the bytes, and the importance that they lose more."""

    counts: list[int]
    saved: float = 0.0
    saved_bytes: float = 0.0
    lost: float = 0.0


def agreed(choice: Choice, counts: Sequence[int], spare: float, most: float) -> list[int]:
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


def _moves(choice: Choice, counts: list[int], left: _Move, most: float) -> Iterator[_Move]:
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


def _steps(choice: Choice, before: _Move) -> Iterator[_Move]:
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
