"""Writing a .tflite file so that what it says twice is stored once.

Scales, zero points, names and shapes that are equal are one vector that several tables point to, as the format allows;
the TFLite converter writes each of them anew.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
# The schema's force_align of constant data: kernels read them where they lie.
_DATA_ALIGNMENT = 16
_INDEX_ALIGNMENT = 4


def share(data: bytes) -> bytes:
    """A .tflite file with everything that another one has, written tightly.

    Raises:
        ValueError: the file is damaged.
    """
    return pack(schema.ModelT.InitFromPackedBuf(data, 0))


def pack(model: Any) -> bytes:
    """The file of a ModelT of the schema's object API."""
    builder = _SharingBuilder(1 << 16)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that answers with the place of an equal vector where it wrote one before."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._known: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802 the base class names it
        """Write an array, or point to an equal one; bytes are aligned as the schema wants its data."""
        payload = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
        key = (x.dtype.str, payload)
        if key not in self._known:
            alignment = max(x.itemsize, _DATA_ALIGNMENT if x.itemsize == 1 else _INDEX_ALIGNMENT)
            self.StartVector(x.itemsize, x.size, alignment)
            self.head -= len(payload)
            self.Bytes[self.head : self.head + len(payload)] = payload
            self.vectorNumElems = x.size
            self._known[key] = self.EndVector()
        return self._known[key]

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        """Write a text, or point to an equal one."""
        text = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        key = ("text", text)
        if key not in self._known:
            self._known[key] = super().CreateString(text)
        return self._known[key]
