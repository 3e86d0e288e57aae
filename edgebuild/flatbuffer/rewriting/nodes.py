"""A flatbuffer as a graph of tables and vectors, in which nothing is there twice.

The schema's object API writes through a `flatbuffers.Builder`. The recorder here stands in for one and keeps what is
written instead of laying it out, so that every table of the schema can be laid out anew without knowing any of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import numpy.typing as npt

# The schema's force_align of constant data: kernels read them where they lie.
_BYTES_ALIGNMENT = 16
_ALIGNMENT = 4


class Scalars(NamedTuple):
    """A vector of numbers, or a text with the zero that ends it.

    Attributes:
        length: as the format states it.
        payload: its elements, little-endian.
        alignment: of the first element, in bytes.
    """

    length: int
    payload: bytes
    alignment: int


class Offsets(NamedTuple):
    """A vector of tables or vectors, by their numbers."""

    children: tuple[int, ...]


class Field(NamedTuple):
    """A field of a table: its slot and its little-endian bytes, or the number of the node it points to."""

    slot: int
    value: bytes | int


class Table(NamedTuple):
    """A table without the fields that have their defaults."""

    fields: tuple[Field, ...]


Node = Scalars | Offsets | Table


class Nodes(NamedTuple):
    """All nodes, children before their parents; the root is the last. Numbers count from 1."""

    all: tuple[Node, ...]

    @property
    def root(self) -> int:
        """The number of the table that holds everything."""
        return len(self.all)


def record(model: Any) -> Nodes:
    """The nodes of a ModelT of the schema's object API; equal ones are one."""
    recorder = _Recorder()
    root = model.Pack(recorder)
    nodes = recorder.nodes()
    assert root == len(nodes), "the root holds everything and is written last"
    return Nodes(nodes)


class _Recorder(flatbuffers.Builder):  # type: ignore[misc]
    """Takes what the object API writes; the "offset" of what it took is the number of a node.

    The methods that are named here are all through which the base class writes.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self._numbers: dict[Node, int] = {}
        self._fields: list[Field] = []
        self._elements: list[bytes | int] = []
        self._alignment = _ALIGNMENT

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._numbers)

    def _number(self, node: Node) -> int:
        return self._numbers.setdefault(node, len(self._numbers) + 1)

    def StartObject(self, _count: int) -> None:  # noqa: N802 the base class names it, as all below
        self._fields = []

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:  # noqa: N802
        if x is not None and x != d:
            self._fields.append(Field(o, flags.packer_type.pack(x)))

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:  # noqa: N802
        if x != d:
            self._fields.append(Field(o, x))

    def EndObject(self) -> int:  # noqa: N802
        return self._number(Table(tuple(sorted(self._fields))))

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
            return self._number(Offsets(children))
        payload = b"".join(element for element in elements if isinstance(element, bytes))
        return self._number(Scalars(len(elements), payload, self._alignment))

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802
        payload = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
        alignment = _BYTES_ALIGNMENT if x.itemsize == 1 else max(_ALIGNMENT, x.itemsize)
        return self._number(Scalars(x.size, payload, alignment))

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        text = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        return self._number(Scalars(len(text), text + b"\0", _ALIGNMENT))
