"""Signal to quantization noise and cosine similarity, summed up over samples."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edgebuild.core.losses import Signal
from edgebuild.data.given import Array
from edgebuild.runtimes.fidelity.proving import Power

# Beyond this float32 itself is noise, and JSON has no word for infinity.
_LIMIT_DB = 150.0
# Outputs may be memory-mapped masks: as many are looked at together as fit in this.
_CHUNK_BYTES = 32 * 10**6


class Sums:
    """The sums that a signal's figures are made of; arrays are added sample by sample or in batches."""

    def __init__(self) -> None:
        self._signal = self._other = self._product = self._noise = 0.0

    def add(self, exact: Array, given: Array) -> None:
        """Add what should be and what is, two real-valued arrays of one shape."""
        y = np.asarray(exact, np.float64).ravel()
        q = np.asarray(given, np.float64).ravel()
        error = y - q
        self._signal += _dot(y, y)
        self._other += _dot(q, q)
        self._product += _dot(y, q)
        self._noise += _dot(error, error)

    @property
    def power(self) -> Power:
        """The power of the signal and of the noise over all that was added, and the cosine of both."""
        return Power(self._signal, self._noise, self._cosine())

    def signal(self) -> Signal:
        """The figures over all that was added."""
        return Signal(sqnr_db=self._sqnr_db(), cosine=self._cosine())

    def _sqnr_db(self) -> float:
        if self._noise == 0:
            return _LIMIT_DB
        if self._signal == 0:
            return -_LIMIT_DB
        return min(_LIMIT_DB, max(-_LIMIT_DB, 10 * math.log10(self._signal / self._noise)))

    def _cosine(self) -> float:
        if self._noise == 0:
            return 1.0
        norm = math.sqrt(self._signal) * math.sqrt(self._other)
        return max(-1.0, min(1.0, self._product / norm)) if norm else 0.0


def chunks(outputs: Array, samples: int) -> Iterator[slice]:
    """The first samples in order, as many at a time as are looked at together."""
    step = max(1, _CHUNK_BYTES // max(1, outputs[:1].nbytes))
    for start in range(0, samples, step):
        yield slice(start, min(samples, start + step))


def _dot(left: Array, right: Array) -> float:
    """A sum of products on one thread: the arrays are small, and those that BLAS wakes cost more than they bring."""
    return float(np.einsum("i,i->", left, right))
