"""How the tables of a flatbuffer schema are laid out, read from a description of them.

A description is a TOML file such as tflite_schema.toml, which explains its notation. The binary format is that of
"FlatBuffers: Internals" (https://flatbuffers.dev/internals).
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_UNUSED = "_"
_FORMATS = {
    "bool": "?",
    "byte": "b",
    "ubyte": "B",
    "short": "h",
    "ushort": "H",
    "int": "i",
    "uint": "I",
    "long": "q",
    "ulong": "Q",
    "float": "f",
    "double": "d",
}
_SIZES = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8, "f": 4, "d": 8}
OFFSET_BYTES = 4


class Scalar(NamedTuple):
    """A number: its format as the struct module calls it, and the names of its values if it is an enum."""

    format: str
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes, which it is aligned to as well."""
        return _SIZES[self.format]


class Text(NamedTuple):
    """A string of UTF-8."""

    size: int = OFFSET_BYTES


class TableOf(NamedTuple):
    """A table, by its name in the schema."""

    name: str
    size: int = OFFSET_BYTES


class Union(NamedTuple):
    """One of several tables; type 1 is the first."""

    names: tuple[str, ...]
    size: int = OFFSET_BYTES


class Vector(NamedTuple):
    """Elements of one type, one after the other."""

    element: Scalar | Text | TableOf
    size: int = OFFSET_BYTES


Type = Scalar | Text | TableOf | Union | Vector


class Field(NamedTuple):
    """A field of a table; of a union, `slot` is its type's, and its value's is the next. `size` is what lies inline."""

    name: str
    slot: int
    type: Type
    default: float


class Layout(NamedTuple):
    """The tables of a schema by name, and the names of the values of its enums."""

    tables: Mapping[str, tuple[Field, ...]]
    enums: Mapping[str, tuple[str, ...]]


@functools.cache
def load(path: Path) -> Layout:
    """The layout that a description gives.

    Raises:
        OSError: it cannot be read.
        KeyError: it names a type that it does not describe.
    """
    described = tomllib.loads(path.read_text(encoding="utf-8"))
    return Layout(
        tables={name: tuple(_fields(fields, described)) for name, fields in described["tables"].items()},
        enums={name: tuple(names) for name, (_stored, *names) in described["enums"].items()},
    )


def _fields(texts: list[str], described: Mapping[str, Mapping[str, list[str]]]) -> Iterator[Field]:
    slot = 0
    for text in texts:
        name, _, rest = text.partition(": ")
        if name != _UNUSED:
            written, _, default = rest.partition(" = ")
            kind = _type(written, described)
            yield Field(name, slot, kind, float(default or 0))
            slot += isinstance(kind, Union)
        slot += 1


def _type(written: str, described: Mapping[str, Mapping[str, list[str]]]) -> Type:
    if written.startswith("union "):
        return Union(tuple(described["unions"][written.removeprefix("union ")]))
    if written.startswith("["):
        return Vector(_element(written.strip("[]"), described))
    return _element(written, described)


def _element(written: str, described: Mapping[str, Mapping[str, list[str]]]) -> Scalar | Text | TableOf:
    if written == "string":
        return Text()
    if written in described["tables"]:
        return TableOf(written)
    if written in described["enums"]:
        stored, *names = described["enums"][written]
        return Scalar(_FORMATS[stored], tuple(names))
    return Scalar(_FORMATS[written])
