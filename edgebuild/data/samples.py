"""Splits on disk, and the feeding of networks from them with the declared preprocessing applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebuild import hashing
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array, Examples
from edgebuild.errors import UsageError

_ANSWERS = "y.npy"


class Samples:
    """One split, kept in memory-mapped files so that large data need little memory.

    Args:
        folder: where `save` put it.
        preprocess: what is done to the samples of float inputs as they are fed.
        most: how many samples are wanted at most, evenly spread; 0 for all.
    """

    def __init__(self, folder: Path, preprocess: Preprocess, most: int = 0) -> None:
        whole: list[Array] = [np.load(file, mmap_mode="r") for file in sorted(folder.glob("x*.npy"))]
        step = -(-len(whole[0]) // most) if most else 1
        self._x = [array[::step] for array in whole]
        answers = folder / _ANSWERS
        self.y: Array | None = np.load(answers, mmap_mode="r")[::step] if answers.is_file() else None
        self._preprocess = preprocess

    @property
    def given(self) -> tuple[Array, ...]:
        """The samples as they were given, one array for each input."""
        return tuple(self._x)

    def __len__(self) -> int:
        return len(self._x[0])

    def batch(self, start: int, stop: int, dtypes: list[np.dtype[np.generic]]) -> list[Array]:
        """Samples start to stop, preprocessed: one array for each input, of the given dtypes.

        Integer inputs (token numbers, say) are cast and not scaled.
        """
        parts = zip(self._x, dtypes, strict=True)
        return [_prepare(array[start:stop], dtype, self._preprocess) for array, dtype in parts]

    def take(self, rows: npt.NDArray[np.intp], dtypes: list[np.dtype[np.generic]]) -> list[Array]:
        """The samples at the given positions, as `batch` gives them."""
        parts = zip(self._x, dtypes, strict=True)
        return [_prepare(array[rows], dtype, self._preprocess) for array, dtype in parts]

    def batches(self, size: int, dtypes: list[np.dtype[np.generic]]) -> Iterator[list[Array]]:
        """All samples in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(start, start + size, dtypes)


class Joined(Samples):
    """Two splits of the same inputs, one after the other."""

    def __init__(self, first: Samples, second: Samples) -> None:
        self._parts = (first, second)
        labels = [part.y for part in self._parts if part.y is not None]
        self.y = np.concatenate(labels) if len(labels) == len(self._parts) else None

    @property
    def given(self) -> tuple[Array, ...]:
        """The samples of the first as they were given, one array for each input."""
        return self._parts[0].given

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def batch(self, start: int, stop: int, dtypes: list[np.dtype[np.generic]]) -> list[Array]:
        """As `Samples.batch`."""
        return self.take(np.arange(start, min(stop, len(self))), dtypes)

    def take(self, rows: npt.NDArray[np.intp], dtypes: list[np.dtype[np.generic]]) -> list[Array]:
        """As `Samples.take`; the positions of the second split follow those of the first."""
        first, second = self._parts
        in_second = rows >= len(first)
        if in_second.all() and len(rows):
            return second.take(rows - len(first), dtypes)
        if not in_second.any():
            return first.take(rows, dtypes)
        order = np.argsort(np.argsort(in_second, kind="stable"))
        found = zip(
            first.take(rows[~in_second], dtypes), second.take(rows[in_second] - len(first), dtypes), strict=True
        )
        return [np.concatenate(pair)[order] for pair in found]


def save(examples: Examples, folder: Path) -> str:
    """Write a split into a new folder and return the digest of its contents (types, shapes and values)."""
    folder.mkdir()
    digests = []
    for position, array in enumerate(examples.x):
        digests.append(_save(array, folder / f"x{position:03}.npy"))
    if examples.y is not None:
        digests.append(_save(examples.y, folder / _ANSWERS))
    return hashing.of_data(digests)


def _save(array: Array, path: Path) -> str:
    np.save(path, np.ascontiguousarray(array))
    return hashing.of_file(path)


def _prepare(array: Array, dtype: np.dtype[np.generic], preprocess: Preprocess) -> Array:
    if dtype.kind != "f" or preprocess.is_identity:
        return np.ascontiguousarray(array, dtype)
    mean: npt.NDArray[np.float32] = np.asarray(preprocess.mean, np.float32)
    scale: npt.NDArray[np.float32] = np.asarray(preprocess.scale, np.float32)
    if any(values.ndim and values.shape != array.shape[-1:] for values in (mean, scale)):
        raise UsageError(
            f"[preprocess] has {mean.size} means and {scale.size} scales, samples have the shape {array.shape[1:]}",
            remedy="Give one number for all, or a list with one for each channel (the last axis).",
        )
    return np.ascontiguousarray((array.astype(np.float32) - mean) * scale, dtype)
