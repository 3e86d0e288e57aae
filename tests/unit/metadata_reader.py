"""Reads TFLite metadata from a .tflite file by the numbers of fields in the published schemas; nothing is of edgebuild.

Fields counted by hand in schema.fbs (Model, Metadata, Buffer) and metadata_schema.fbs (identifier M001).
"""

from __future__ import annotations

import io
import struct
import zipfile


class Table:
    """A table of a flatbuffer, read by slot: nothing of edgebuild's is between the bytes and the test."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        self._vtable = place - struct.unpack_from("<i", data, place)[0]
        self._size = struct.unpack_from("<H", data, self._vtable)[0]

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _field(self, slot: int) -> int:
        entry = 4 + 2 * slot
        inside = struct.unpack_from("<H", self._data, self._vtable + entry)[0] if entry < self._size else 0
        return self._place + inside if inside else 0

    def _target(self, slot: int) -> int:
        place = self._field(slot)
        assert place, f"slot {slot} is absent"
        return place + int(struct.unpack_from("<I", self._data, place)[0])

    def text(self, slot: int) -> str:
        place = self._target(slot)
        size = struct.unpack_from("<I", self._data, place)[0]
        return self._data[place + 4 : place + 4 + size].decode()

    def byte(self, slot: int) -> int:
        place = self._field(slot)
        return self._data[place] if place else 0

    def table(self, slot: int) -> Table:
        return Table(self._data, self._target(slot))

    def tables(self, slot: int) -> list[Table]:
        place = self._target(slot)
        count = struct.unpack_from("<I", self._data, place)[0]
        starts = range(place + 4, place + 4 + 4 * count, 4)
        return [Table(self._data, start + struct.unpack_from("<I", self._data, start)[0]) for start in starts]

    def floats(self, slot: int) -> tuple[float, ...]:
        place = self._target(slot)
        count = struct.unpack_from("<I", self._data, place)[0]
        return struct.unpack_from(f"<{count}f", self._data, place + 4)

    def has(self, slot: int) -> bool:
        """Whether the field is there."""
        return self._field(slot) != 0

    def number(self, slot: int) -> int:
        """An unsigned integer of 32 bits; 0 where it is left out."""
        place = self._field(slot)
        return int(struct.unpack_from("<I", self._data, place)[0]) if place else 0

    def raw(self, slot: int) -> bytes:
        """A vector of bytes."""
        place = self._target(slot)
        size = struct.unpack_from("<I", self._data, place)[0]
        return self._data[place + 4 : place + 4 + size]


def metadata_of(file: bytes) -> bytes:
    """The metadata's own flatbuffer. Model: buffers 4, metadata 6; Metadata: name 0, buffer 1; Buffer: data 0."""
    model = Table.root(file)
    (entry,) = [entry for entry in model.tables(6) if entry.text(0) == "TFLITE_METADATA"]
    return model.tables(4)[entry.number(1)].raw(0)


def _ends(file: bytes, slot: int) -> list[Table]:
    """ModelMetadata: subgraph_metadata 3; SubGraphMetadata: inputs 2, outputs 3."""
    data = metadata_of(file)
    assert data[4:8] == b"M001"
    return Table.root(data).tables(3)[0].tables(slot)


def content_of(file: bytes, place: int = 0) -> str:
    """What an input holds. TensorMetadata: content 3, a union: 1 features, 2 image (colour 1 RGB, 2 grey), 4 audio."""
    content = _ends(file, 2)[place].table(3)
    if content.byte(0) == 2:
        return {1: "RGB", 2: "GRAYSCALE"}[content.table(1).byte(0)]
    return {1: "FEATURES", 4: "AUDIO"}[content.byte(0)]


def normalization_of(file: bytes, place: int = 0) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std. TensorMetadata: process_units 4; ProcessUnit: a union, 1 for normalization: mean 0, std 1."""
    tensor = _ends(file, 2)[place]
    units = [unit.table(1) for unit in tensor.tables(4) if unit.byte(0) == 1] if tensor.has(4) else []
    return (units[0].floats(0), units[0].floats(1)) if units else None


def labels_of(file: bytes, place: int = 0) -> list[str] | None:
    """The classes of an output. TensorMetadata: associated_files 6; AssociatedFile: name 0, type 2 (2 axis labels)."""
    tensor = _ends(file, 3)[place]
    names = [each.text(0) for each in tensor.tables(6) if each.byte(2) == 2] if tensor.has(6) else []
    if not names:
        return None
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return archive.read(names[0]).decode().splitlines()
