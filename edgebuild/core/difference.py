"""Difference: two artifacts side by side."""

from __future__ import annotations

import msgspec

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.measurement import Mode


class NumberChange(msgspec.Struct, frozen=True, kw_only=True):
    """A number of the first artifact and of the second; 0 where one has none of it."""

    name: str
    before: int
    after: int

    @property
    def by(self) -> int:
        """What the second has more."""
        return self.after - self.before


class LayerChange(msgspec.Struct, frozen=True, kw_only=True):
    """An operator of the first artifact, of the second, or of both.

    Attributes:
        name: of what it writes; empty where names were stripped.
        operator: its kind, as the second has it, or the first where the second has it not.
        before: its place in the first; -1 where it was added.
        after: its place in the second; -1 where it was removed.
        constants_bytes: the constants that it reads.
        macs: its multiply-accumulates.
        changes: what else differs, in words: "version 2 -> 3".
    """

    name: str
    operator: str
    before: int
    after: int
    constants_bytes: NumberChange
    macs: NumberChange
    changes: tuple[str, ...] = ()


class FigureChange(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that both builds recorded.

    Attributes:
        mode: how the less certain of the two was come by.
        where: the place of both.
        note: why the two should be compared with care; empty where they need none.
    """

    subject: Subject
    unit: Unit
    before: float
    after: float
    mode: Mode
    where: str
    note: str = ""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Two artifacts, held side by side.

    Attributes:
        before: what the first is called.
        after: what the second is called.
        totals: size, MACs and activations.
        sections: bytes by what they are for, the largest change first.
        operators: how many there are of each kind, of those kinds that differ.
        layers: operators that were added, removed or changed, in the order of the second.
        same_layers: how many operators are equal but for the values of their constants.
        figures: what manifests recorded; empty where there are none.
        notes: what is to be known of the comparison.
    """

    before: str
    after: str
    totals: tuple[NumberChange, ...]
    sections: tuple[NumberChange, ...]
    operators: tuple[NumberChange, ...]
    layers: tuple[LayerChange, ...]
    same_layers: int
    figures: tuple[FigureChange, ...] = ()
    notes: tuple[str, ...] = ()
