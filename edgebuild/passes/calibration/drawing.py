"""Calibration samples in a random order: most to choose by, the rest to judge the choice by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgebuild.data.samples import Samples
from edgebuild.passes.calibration import walking
from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.graph import batches

_LIMIT_BYTES = 400_000_000  # of twins that are alive together
_BATCH_BYTES = 50_000_000  # of all points of one batch
_LARGEST_BATCH = 32
_HELD_OUT = 4  # one sample of so many
_TOO_FEW = 8  # of fewer samples none can be spared


class Batches:
    """Samples by their rows, read again each time they are gone through."""

    def __init__(
        self, samples: Samples, rows: npt.NDArray[np.intp], size: int, dtypes: list[np.dtype[np.generic]]
    ) -> None:
        self._samples, self._rows, self._size, self._dtypes = samples, rows, size, dtypes

    def __iter__(self) -> Iterator[Sequence[Array]]:
        for start in range(0, len(self._rows), self._size):
            yield self._samples.take(self._rows[start : start + self._size], self._dtypes)

    def first(self, count: int) -> Batches:
        """No more than the first so many samples."""
        return Batches(self._samples, self._rows[:count], self._size, self._dtypes)

    def whole(self) -> Sequence[Array]:
        """All in one: an array for each input."""
        return self._samples.take(self._rows, self._dtypes)


class Drawn:
    """The parts that samples are divided into; of too few of them both are all.

    Attributes:
        chosen_by: ranges are chosen by these.
        judged_by: the choice is judged by these.
        walked: as many of the first as the network can be walked with.
    """

    def __init__(self, plan: Plan, samples: Samples, seed: int) -> None:
        dtypes = [np.dtype(plan.graph.tensors[item.tensor].dtype) for item in plan.graph.inputs]
        rows = np.random.default_rng(seed).permutation(len(samples))
        spared = 0 if len(rows) < _TOO_FEW else len(rows) // _HELD_OUT
        size = _batch_size(plan)
        self.chosen_by = Batches(samples, rows[spared:], size, dtypes)
        self.judged_by = Batches(samples, rows[:spared] if spared else rows, size, dtypes)
        self.walked = self.chosen_by.first(walking.samples_within(plan.graph, _LIMIT_BYTES))


def _batch_size(plan: Plan) -> int:
    rows = batches.rows(plan.graph)
    per_sample = 4 * sum(
        rows[point] * math.prod(size or 1 for size in plan.graph.tensors[point].shape[1:]) for point in plan.points
    )
    return min(max(_BATCH_BYTES // max(per_sample, 1), 1), _LARGEST_BATCH)
