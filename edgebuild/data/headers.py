"""The shapes of the samples in a .npz file, read from its headers alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from edgebuild.data import array_names


def sample_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of a sample for each input by its name, "" where the file has one input; none where it is damaged."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = member.removesuffix(".npy").partition("/")[2]
                if array_names.split_of(member.removesuffix(".npy")) and member.endswith(".npy"):
                    with archive.open(member) as file:
                        version = np.lib.format.read_magic(file)
                        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                            version, np.lib.format.read_array_header_2_0
                        )
                        found.setdefault(name, tuple(map(int, read(file)[0][1:])))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return {}
    return found


def names(path: Path) -> list[str]:
    """The names of the arrays in a .npz file; none where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return []
