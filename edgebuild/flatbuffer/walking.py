"""Reading a flatbuffer that nobody vouches for: every offset is checked, and every byte that belongs to it is found.

The checks are those of the verifier in flatbuffers' C++ library (verifier.h): each table, vtable, vector and string
lies in the buffer and is aligned. Numbers of eight bytes need not be aligned to more than four: some writers do no
more, and LiteRT and TFLM run their files. Beyond the verifier, no two of them may overlap except where they are one and
the same, which no writer does and which keeps the work in proportion to the file.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from edgebuild.flatbuffer.layout import Field, Layout, Scalar, TableOf, Text, Type, Union, Vector

# Of the file: the place of the root table, then the identifier.
_ROOT_BYTES = 8
_VTABLE_HEAD_BYTES = 4
_HEAD_BYTES = 4
# What runtimes need: no processor that they run on wants more of the numbers that a file holds.
_MOST_ALIGNED = 4


class Part(NamedTuple):
    """Bytes of the file from `start` to `end`: a table, its vtable (`field` "vtable"), or the value of a field."""

    start: int
    end: int
    table: str
    field: str


class Blob(NamedTuple):
    """A vector of bytes, by where it lies: it is not copied."""

    start: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A table: the values of its fields by name; None for a table, vector, text or union that is absent.

    Vectors of numbers and of tables are tuples, those of unsigned bytes a Blob; enums are the names of their values, or
    the number where the schema has no name for it; texts are bytes.
    """

    table: str
    fields: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


class Walked(NamedTuple):
    """What a buffer holds: its root table, and where all of it lies, in the order of the file."""

    root: Node
    parts: tuple[Part, ...]


class DamagedError(ValueError):
    """The bytes are no flatbuffer of this schema; the text says where they stop to make sense."""


def walk(data: bytes, layout: Layout, root: str) -> Walked:
    """Read a buffer whole.

    Args:
        data: the buffer, from its first byte; what follows the flatbuffer in it is left alone.
        layout: the schema.
        root: its root table.

    Raises:
        DamagedError: an offset, a length or an alignment is wrong.
    """
    walker = _Walker(data, layout)
    node = walker.root(root)
    return Walked(node, walker.parts())


class _Walker:
    """One buffer while it is read. What several offsets lead to is read once."""

    def __init__(self, data: bytes, layout: Layout) -> None:
        self._data = data
        self._layout = layout
        self._parts: dict[tuple[int, int], Part] = {}
        self._covered = 0
        self._read: dict[tuple[int, object], Any] = {}

    def root(self, name: str) -> Node:
        self._claim(0, _ROOT_BYTES, "", "root")
        node: Node = self._follow(0, TableOf(name), "", "root")
        return node

    def parts(self) -> tuple[Part, ...]:
        """All parts in order; raises where two of them overlap."""
        parts = sorted(self._parts.values())
        for before, after in itertools.pairwise(parts):
            if after.start < before.end:
                raise DamagedError(f"{_called(before)} and {_called(after)} share bytes at {after.start}")
        return tuple(parts)

    def _claim(self, start: int, end: int, table: str, field: str) -> None:
        if start < 0 or end > len(self._data):
            raise DamagedError(f"{table}.{field} reaches from {start} to {end} in {len(self._data)} bytes")
        if (start, end) not in self._parts:
            self._parts[start, end] = Part(start, end, table, field)
            self._covered += end - start
            # Without overlaps the parts are never more than the file: this ends a walk that goes in circles.
            if self._covered > len(self._data):
                raise DamagedError(f"{table}.{field} at {start} lies over other parts")

    def _number(self, form: str, place: int) -> Any:
        try:
            return struct.unpack_from(f"<{form}", self._data, place)[0]
        except struct.error:
            raise DamagedError(f"the file ends before byte {place}") from None

    def _follow(self, place: int, kind: Type, table: str, field: str) -> Any:
        """What the offset at a place leads to."""
        target = place + self._number("I", place)
        if target == place:
            raise DamagedError(f"{table}.{field} at {place} leads to itself")
        key = (target, kind)
        if key not in self._read:
            self._read[key] = self._value(target, kind, table, field)
        return self._read[key]

    def _value(self, start: int, kind: Type, table: str, field: str) -> Any:
        if isinstance(kind, TableOf):
            return self._table(start, kind.name)
        self._require_aligned(start, _HEAD_BYTES, table, field)
        count = self._number("I", start)
        if isinstance(kind, Text):
            return self._text(start, count, table, field)
        assert isinstance(kind, Vector)
        return self._vector(start, count, kind.element, table, field)

    def _text(self, start: int, count: int, table: str, field: str) -> bytes:
        first = start + _HEAD_BYTES
        self._claim(start, first + count + 1, table, field)
        if self._data[first + count]:
            raise DamagedError(f"the text {table}.{field} at {start} does not end")
        return self._data[first : first + count]

    def _vector(self, start: int, count: int, element: Scalar | Text | TableOf, table: str, field: str) -> Any:
        first = start + _HEAD_BYTES
        self._claim(start, first + count * element.size, table, field)
        if not isinstance(element, Scalar):
            return tuple(self._follow(first + index * element.size, element, table, field) for index in range(count))
        if count:
            self._require_aligned(first, min(element.size, _MOST_ALIGNED), table, field)
        if element.format == "B":
            return Blob(first, count)
        return struct.unpack_from(f"<{count}{element.format}", self._data, first)

    def _table(self, start: int, name: str) -> Node:
        self._require_aligned(start, _HEAD_BYTES, name, "table")
        vtable = start - self._number("i", start)
        if vtable < 0 or vtable % 2:
            raise DamagedError(f"{name} at {start} has no vtable")
        slots, size = self._number("H", vtable), self._number("H", vtable + 2)
        if slots < _VTABLE_HEAD_BYTES or slots % 2 or size < _HEAD_BYTES:
            raise DamagedError(f"{name} at {start} has a vtable of {slots} bytes for {size}")
        self._claim(vtable, vtable + slots, name, "vtable")
        places = struct.unpack_from(f"<{(slots - _VTABLE_HEAD_BYTES) // 2}H", self._data, vtable + _VTABLE_HEAD_BYTES)
        inline = _Inline(start, size, places, name)
        fields = self._layout.tables[name]
        # Not the size that the vtable gives: a converter of 2019 gave one that reaches into the next table.
        self._claim(start, max(start + _HEAD_BYTES, *inline.ends(fields)), name, "table")
        return Node(name, {field.name: self._field(field, inline) for field in fields})

    def _field(self, field: Field, inline: _Inline) -> Any:
        kind = field.type
        if isinstance(kind, Union):
            return self._union(field, kind, inline)
        place = inline.place(field.slot, kind.size, field.name)
        if not isinstance(kind, Scalar):
            return self._follow(place, kind, inline.table, field.name) if place else None
        value = self._number(kind.format, place) if place else field.default
        if kind.format == "?":
            return bool(value)
        if kind.format in "fd":
            return value
        number = int(value)
        return kind.names[number] if 0 <= number < len(kind.names) else number

    def _union(self, field: Field, kind: Union, inline: _Inline) -> Node | None:
        type_place = inline.place(field.slot, 1, field.name)
        place = inline.place(field.slot + 1, kind.size, field.name)
        chosen = self._number("B", type_place) if type_place else 0
        if not chosen or not place:
            if chosen or place:
                raise DamagedError(f"{inline.table}.{field.name} at {inline.start} has a type without a value, or none")
            return None
        if chosen > len(kind.names):
            return None  # of a newer schema: there is no way to read it
        node: Node = self._follow(place, TableOf(kind.names[chosen - 1]), inline.table, field.name)
        return node

    def _require_aligned(self, place: int, size: int, table: str, field: str) -> None:
        if place % size:
            raise DamagedError(f"{table}.{field} at {place} is not aligned to {size} bytes")


class _Inline(NamedTuple):
    """What a table holds itself, and where in it each field lies (0 for one that is absent)."""

    start: int
    size: int
    places: tuple[int, ...]
    table: str

    def place(self, slot: int, size: int, field: str) -> int:
        """Where a field lies in the file; 0 where it is absent."""
        inside = self.places[slot] if slot < len(self.places) else 0
        if not inside:
            return 0
        place = self.start + inside
        if inside < _HEAD_BYTES or inside + size > self.size or place % min(size, _MOST_ALIGNED):
            raise DamagedError(f"{self.table}.{field} lies at {inside} in a table of {self.size} bytes")
        return place

    def ends(self, fields: tuple[Field, ...]) -> Iterator[int]:
        """Where each field that is there ends; those of slots that the schema does not know take a byte or more."""
        sizes = dict.fromkeys(range(len(self.places)), 1)
        for field in fields:
            union = isinstance(field.type, Union)
            sizes[field.slot + union] = field.type.size
        yield self.start
        yield from (self.start + inside + sizes[slot] for slot, inside in enumerate(self.places) if inside)


def _called(part: Part) -> str:
    return f"{part.table}.{part.field}"
