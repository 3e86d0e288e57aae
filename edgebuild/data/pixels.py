"""How samples hold pixels: as bytes, or scaled before they were handed over."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgebuild.core.metadata import Pixels
from edgebuild.data.given import Array, Given

_CHUNK = 256
_BYTE = 255
_ROUNDED = 1e-3  # what a scaled pixel may lie beyond its range


def encodings(given: Given, inputs: int) -> tuple[Pixels, ...]:
    """For each input how its samples would hold pixels, by all samples that there are; empty where there are none."""
    splits = [part for part in (given.train, given.validation, given.calibration, given.evaluation) if part is not None]
    return tuple(encoding(part.x[place] for part in splits) for place in range(inputs)) if splits else ()


def encoding(arrays: Iterable[Array]) -> Pixels:
    """How arrays of samples hold pixels; OTHER where these values are none.

    Bytes are pixels however dark they are; of floats the range tells.
    """
    low, high, whole = np.inf, -np.inf, True
    for array in arrays:
        whole = whole and array.dtype.kind in "iub"
        for start in range(0, len(array), _CHUNK):
            some = array[start : start + _CHUNK]
            low, high = min(low, float(some.min())), max(high, float(some.max()))
    if whole:
        return Pixels.BYTES if low >= 0 and high <= _BYTE else Pixels.OTHER
    if low >= 0 and high <= 1 + _ROUNDED:
        return Pixels.UNIT
    if low >= -1 - _ROUNDED and high <= 1 + _ROUNDED:
        return Pixels.SIGNED
    return Pixels.BYTES if low >= 0 and high <= _BYTE + _ROUNDED else Pixels.OTHER
