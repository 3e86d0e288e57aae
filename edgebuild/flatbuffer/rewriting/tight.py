"""Laying out a flatbuffer in as few bytes as the format allows.

What the format asks for: a table or vector starts after all that point to it, and its elements are aligned. Constant
data are aligned to 16 bytes, so that some 12 bytes would be lost before each. Small tables and vectors fill those gaps.

The schema's object API writes through a `flatbuffers.Builder`. The recorder here stands in for one and keeps what is
written instead of laying it out, so that every table of the schema can be laid out anew without knowing any of them.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_HEADER_BYTES = 8
# A table's offset to its vtable, a vector's length, an offset: all are words.
_WORD_BYTES, _HALF_BYTES = 4, 2
# The schema's force_align of constant data: kernels read them where they lie.
_BYTES_ALIGNMENT = 16
_ALIGNMENT = 4


def share(data: bytes) -> bytes:
    """A .tflite file with everything that another one has, each thing once.

    Raises:
        ValueError: the file is damaged.
    """
    return pack(schema.ModelT.InitFromPackedBuf(data, 0))


def pack(model: Any) -> bytes:
    """The smallest file found of a ModelT of the schema's object API; equal models give equal bytes."""
    return write(_record(model))


def write(nodes: _Nodes) -> bytes:
    """The file of recorded nodes."""
    pieces = _pieces(nodes)
    places, size = _Layout(pieces, nodes.root - 1).run()
    out = bytearray(size)
    struct.pack_into("<I4s", out, 0, places[nodes.root - 1], _IDENTIFIER)
    for place, piece in zip(places, pieces, strict=True):
        out[place : place + len(piece.content)] = piece.content
        for at, other in piece.points:
            struct.pack_into("<I", out, place + at, places[other] - place - at)
        if piece.vtable is not None:
            struct.pack_into("<i", out, place, place - places[piece.vtable])
    return bytes(out)


class _Piece(NamedTuple):
    """What lies in one stretch of the file.

    Attributes:
        content: its bytes, with zeros where words that depend on places go.
        head_bytes: what comes before the place that is aligned.
        alignment: of that place, in bytes.
        points: the pieces that it points to, each with where the offset stands in the content.
        vtable: the piece that describes a table.
    """

    content: bytes
    head_bytes: int
    alignment: int
    points: tuple[tuple[int, int], ...] = ()
    vtable: int | None = None


def _pieces(nodes: _Nodes) -> list[_Piece]:
    """A piece for each node, in their order, and behind them one for each vtable."""
    vtables: dict[bytes, int] = {}
    pieces = [_piece(node, vtables, len(nodes.all)) for node in nodes.all]
    return pieces + [_Piece(vtable, head_bytes=0, alignment=_HALF_BYTES) for vtable in vtables]


def _piece(node: _Node, vtables: dict[bytes, int], first_vtable: int) -> _Piece:
    if isinstance(node, _Scalars):
        return _Piece(struct.pack("<I", node.length) + node.payload, _WORD_BYTES, node.alignment)
    if isinstance(node, _Offsets):
        content = struct.pack("<I", len(node.children)) + bytes(_WORD_BYTES * len(node.children))
        points = tuple((_WORD_BYTES * (place + 1), child - 1) for place, child in enumerate(node.children))
        return _Piece(content, _WORD_BYTES, _WORD_BYTES, points)
    return _table(node, vtables, first_vtable)


def _table(table: _Table, vtables: dict[bytes, int], first_vtable: int) -> _Piece:
    """The piece of a table; its vtable is looked up, or numbered."""
    # From wide to narrow, so that each is aligned where the one before ends.
    fields = sorted(table.fields, key=lambda field: (-_width(field), field.slot))
    ends = list(itertools.accumulate((_width(field) for field in fields), initial=_WORD_BYTES))
    slots = [0] * (1 + max((field.slot for field in fields), default=-1))
    for field, start in zip(fields, ends, strict=False):
        slots[field.slot] = start
    head = (_HALF_BYTES * (2 + len(slots)), ends[-1])
    vtable = struct.pack(f"<{2 + len(slots)}H", *head, *slots)
    return _Piece(
        content=bytes(_WORD_BYTES) + b"".join(_content(field) for field in fields),
        head_bytes=_WORD_BYTES,
        alignment=max([_WORD_BYTES, *map(_width, fields)]),
        points=tuple((start, f.value - 1) for f, start in zip(fields, ends, strict=False) if isinstance(f.value, int)),
        vtable=vtables.setdefault(vtable, first_vtable + len(vtables)),
    )


def _content(field: _Field) -> bytes:
    return bytes(_WORD_BYTES) if isinstance(field.value, int) else field.value


def _width(field: _Field) -> int:
    return _WORD_BYTES if isinstance(field.value, int) else len(field.value)


class _Layout:
    """Gives pieces their places, from the file's start to its end.

    A piece is ready once all that point to it have their places; vtables always are.
    """

    def __init__(self, pieces: Sequence[_Piece], root: int) -> None:
        self._pieces = pieces
        self._places = [0] * len(pieces)
        self._end = _HEADER_BYTES
        self._waiting_for = Counter(other for piece in pieces for other in _pointed(piece))
        # Ready pieces in the order in which they became so, those that need more than a word's alignment apart, by it.
        self._fillers: dict[int, deque[int]] = {}
        self._aligned: dict[int, deque[int]] = {}
        self._halves: deque[int] = deque()  # vtables that end in the midst of a word
        self._add(root)
        for vtable in sorted({piece.vtable for piece in pieces if piece.vtable is not None}):
            self._add(vtable)

    def run(self) -> tuple[list[int], int]:
        """The place of each piece, and the size of the file."""
        while self._aligned or self._fillers or self._halves:
            self._put(self._next())
        return self._places, self._end

    def _add(self, number: int) -> None:
        piece = self._pieces[number]
        size = len(piece.content)
        if piece.alignment > _WORD_BYTES:
            self._aligned.setdefault(piece.alignment, deque()).append(number)
        elif piece.alignment < _WORD_BYTES and size % _WORD_BYTES:
            self._halves.append(number)
        else:
            self._fillers.setdefault(size, deque()).append(number)

    def _next(self) -> int:
        """What comes next: what is aligned, where it fits without a gap, or something that leads to such a place."""
        nothing_else = not (self._aligned or self._fillers)
        if self._halves and (nothing_else or 0 < self._end % _WORD_BYTES <= _HALF_BYTES):
            return self._halves.popleft()
        for alignment in sorted(self._aligned, reverse=True):
            if not self._gap(alignment):
                return _taken(self._aligned, alignment)
        if not self._aligned:
            return _taken(self._fillers, self._most_wanted())
        alignment = max(self._aligned)
        size = self._filling(self._gap(alignment), alignment)
        return _taken(self._aligned, alignment) if size is None else _taken(self._fillers, size)

    def _gap(self, alignment: int) -> int:
        """The bytes from the next word to where something could start whose second word has to be aligned."""
        return -(_words(self._end) + _WORD_BYTES) % alignment

    def _most_wanted(self) -> int:
        """The size of a piece for a place where nothing has to be aligned: of one that others wait for, if any is."""
        return min(self._fillers, key=lambda size: (not self._pieces[self._fillers[size][0]].points, size))

    def _filling(self, gap: int, alignment: int) -> int | None:
        """The size of a piece to put into a gap: it fills it, alone or with another, or is the largest that fits.

        To fill one is to end where an aligned piece can start, be it further on.
        """
        rests = {size: (gap - _words(size)) % alignment for size in sorted(self._fillers)}
        steps = {(gap - rest) % alignment for rest in rests.values()}
        exact = [size for size, rest in rests.items() if not rest]
        paired = [size for size, rest in rests.items() if rest in steps]
        fitting = [size for size in rests if _words(size) <= gap]
        return next(iter(exact + paired + fitting[::-1]), None)

    def _put(self, number: int) -> None:
        piece = self._pieces[number]
        self._end += -(self._end + piece.head_bytes) % piece.alignment
        self._places[number] = self._end
        self._end += len(piece.content)
        for other in _pointed(piece):
            self._waiting_for[other] -= 1
            if not self._waiting_for[other]:
                self._add(other)


def _pointed(piece: _Piece) -> frozenset[int]:
    return frozenset(other for _, other in piece.points)


def _words(size: int) -> int:
    """Bytes, up to the end of the word."""
    return size + -size % _WORD_BYTES


def _taken(queues: dict[int, deque[int]], key: int) -> int:
    """The first of a queue; one that is empty is gone."""
    number = queues[key].popleft()
    if not queues[key]:
        del queues[key]
    return number


class _Scalars(NamedTuple):
    """A vector of numbers, or a text with the zero that ends it.

    Attributes:
        length: as the format states it.
        payload: its elements, little-endian.
        alignment: of the first element, in bytes.
    """

    length: int
    payload: bytes
    alignment: int


class _Offsets(NamedTuple):
    """A vector of tables or vectors, by their numbers."""

    children: tuple[int, ...]


class _Field(NamedTuple):
    """A field of a table: its slot and its little-endian bytes, or the number of the node it points to."""

    slot: int
    value: bytes | int


class _Table(NamedTuple):
    """A table without the fields that have their defaults."""

    fields: tuple[_Field, ...]


_Node = _Scalars | _Offsets | _Table


class _Nodes(NamedTuple):
    """All nodes, children before their parents; the root is the last. Numbers count from 1."""

    all: tuple[_Node, ...]

    @property
    def root(self) -> int:
        """The number of the table that holds everything."""
        return len(self.all)


def _record(model: Any) -> _Nodes:
    """The nodes of a ModelT of the schema's object API; equal ones are one."""
    recorder = _Recorder()
    root = model.Pack(recorder)
    nodes = recorder.nodes()
    assert root == len(nodes), "the root holds everything and is written last"
    return _Nodes(nodes)


class _Recorder(flatbuffers.Builder):  # type: ignore[misc]
    """Takes what the object API writes; the "offset" of what it took is the number of a node.

    The methods that are named here are all through which the base class writes.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self._numbers: dict[_Node, int] = {}
        self._fields: list[_Field] = []
        self._elements: list[bytes | int] = []
        self._alignment = _ALIGNMENT

    def nodes(self) -> tuple[_Node, ...]:
        return tuple(self._numbers)

    def _number(self, node: _Node) -> int:
        return self._numbers.setdefault(node, len(self._numbers) + 1)

    def StartObject(self, _count: int) -> None:  # noqa: N802 the base class names it, as all below
        self._fields = []

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:  # noqa: N802
        if x is not None and x != d:
            self._fields.append(_Field(o, flags.packer_type.pack(x)))

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:  # noqa: N802
        if x != d:
            self._fields.append(_Field(o, x))

    def EndObject(self) -> int:  # noqa: N802
        return self._number(_Table(tuple(sorted(self._fields))))

    def StartVector(self, elemSize: int, _count: int, alignment: int) -> None:  # noqa: N802, N803
        self._elements = []
        self._alignment = max(alignment, _BYTES_ALIGNMENT if elemSize == 1 else _ALIGNMENT)

    def Prepend(self, flags: Any, off: Any) -> None:  # noqa: N802
        self._elements.append(flags.packer_type.pack(off))

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        self._elements.append(off)

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802, N803, ARG002
        """Number a vector, which was written from its end."""
        elements = self._elements[::-1]
        children = tuple(element for element in elements if isinstance(element, int))
        if children:
            return self._number(_Offsets(children))
        payload = b"".join(element for element in elements if isinstance(element, bytes))
        return self._number(_Scalars(len(elements), payload, self._alignment))

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802
        payload = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
        alignment = _BYTES_ALIGNMENT if x.itemsize == 1 else max(_ALIGNMENT, x.itemsize)
        return self._number(_Scalars(x.size, payload, alignment))

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        text = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        return self._number(_Scalars(len(text), text + b"\0", _ALIGNMENT))
