"""Writing a flatbuffer from a tree of plain values, after a description of its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np

from edgebuild.flatbuffer.layout import Field, Layout, Scalar, TableOf, Text, Union, Vector

Values = Mapping[str, Any]
# How the builder calls the formats of numbers.
_NUMBERS = {
    **dict(zip("?bBhHiI", ("Bool", "Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32"), strict=True)),
    **dict(zip("qQfd", ("Int64", "Uint64", "Float32", "Float64"), strict=True)),
}


class Chosen(NamedTuple):
    """The value of a union: which of its tables, and that table's values."""

    table: str
    values: Values


def write(values: Values, layout: Layout, root: str, identifier: bytes) -> bytes:
    """A flatbuffer of these values: the same bytes for the same values.

    Args:
        values: of the root table by field; a table is a mapping, a vector a sequence, an enum the name of its value, a
            union a Chosen. What is absent or None is left out.
        layout: the schema.
        root: its root table.
        identifier: four bytes that tell the format.

    Raises:
        KeyError: the schema has no such field, value or table.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_Writer(builder, layout).table(root, values), identifier)
    return bytes(builder.Output())


class _Writer:
    """One flatbuffer under construction; children are written before the table that points to them."""

    def __init__(self, builder: Any, layout: Layout) -> None:
        self._builder = builder
        self._layout = layout

    def table(self, name: str, values: Values) -> int:
        fields = {field.name: field for field in self._layout.tables[name]}
        given = [(fields[key], value) for key, value in values.items() if value is not None]
        ready = [(field, value, self._child(field, value)) for field, value in given]
        self._builder.StartObject(max((field.slot + 2 for field in fields.values()), default=0))
        for field, value, offset in ready:
            if isinstance(field.type, Union):
                self._builder.PrependUint8Slot(field.slot, field.type.names.index(value.table) + 1, 0)
                self._builder.PrependUOffsetTRelativeSlot(field.slot + 1, offset, 0)
            elif isinstance(field.type, Scalar):
                self._scalar(field, field.type, value)
            else:
                self._builder.PrependUOffsetTRelativeSlot(field.slot, offset, 0)
        return int(self._builder.EndObject())

    def _child(self, field: Field, value: Any) -> int:
        """Where the value of a field was written that does not lie in its table; 0 for a number."""
        kind = field.type
        if isinstance(kind, Union):
            return self.table(value.table, value.values)
        return 0 if isinstance(kind, Scalar) else self._offset(kind, value)

    def _offset(self, kind: Text | TableOf | Vector, value: Any) -> int:
        if isinstance(kind, Text):
            return int(self._builder.CreateString(value))
        if isinstance(kind, TableOf):
            return self.table(kind.name, value)
        return self._vector(kind.element, value)

    def _vector(self, element: Scalar | Text | TableOf, values: Sequence[Any]) -> int:
        if isinstance(element, Scalar):
            return int(self._builder.CreateNumpyVector(np.array(values, f"<{element.format}")))
        offsets = [self._offset(element, value) for value in values]
        self._builder.StartVector(element.size, len(offsets), element.size)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def _scalar(self, field: Field, kind: Scalar, value: Any) -> None:
        number = kind.names.index(value) if isinstance(value, str) else value
        if number != field.default:
            getattr(self._builder, f"Prepend{_NUMBERS[kind.format]}")(number)
            self._builder.Slot(field.slot)
