"""The shapes of the samples in a .npz file, read from its headers alone.

Without NumPy, which takes longer to import than all else that a build does where nothing has changed.
"""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path
from typing import IO

from edgebuild.data import array_names

_MAGIC = b"\x93NUMPY"
# NumPy itself reads no longer ones.
_LONGEST_HEADER_BYTES = 10_000
_DAMAGES = (OSError, ValueError, zipfile.BadZipFile, NotImplementedError)


def sample_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of a sample for each input by its name, "" where the file has one input; none where it is damaged."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = member.removesuffix(".npy").partition("/")[2]
                if array_names.split_of(member.removesuffix(".npy")) and member.endswith(".npy"):
                    with archive.open(member) as file:
                        found.setdefault(name, _shape(file)[1:])
    except _DAMAGES:
        return {}
    return found


def _shape(file: IO[bytes]) -> tuple[int, ...]:
    """The shape of the array in a .npy file, by the format that numpy.lib.format describes.

    Raises:
        ValueError: it is none.
    """
    start = file.read(len(_MAGIC) + 2)
    if not start.startswith(_MAGIC):
        raise ValueError("not a .npy file")
    size = int.from_bytes(file.read(2 if start[-2] == 1 else 4), "little")
    if size > _LONGEST_HEADER_BYTES:
        raise ValueError("the header is too long")
    try:
        return tuple(map(int, ast.literal_eval(file.read(size).decode("utf-8"))["shape"]))
    except (SyntaxError, LookupError, TypeError, RecursionError, MemoryError):
        raise ValueError("the header is none") from None


def names(path: Path) -> list[str]:
    """The names of the arrays in a .npz file; none where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except _DAMAGES:
        return []
