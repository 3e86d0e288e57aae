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
from edgebuild.passes.graph import running

_LIMIT_BYTES = 300_000_000  # of what is alive of the samples walked with, in two networks
_BATCH_BYTES = 100_000_000  # of what is alive of a batch, or of all points of one with gradients
_LARGEST_BATCH = 128
_WEIGHED = 64  # samples that gradients are taken of
_VALUES = 2**27  # of all points, on all samples that are gone through more than once
_FEWEST = 16  # such samples, however large they are
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

    def __len__(self) -> int:
        return len(self._rows)

    def first(self, count: int, size: int = 0) -> Batches:
        """No more than the first so many samples, in batches of another size where one is given."""
        return Batches(self._samples, self._rows[:count], size or self._size, self._dtypes)

    def whole(self) -> Sequence[Array]:
        """All in one: an array for each input."""
        return self._samples.take(self._rows, self._dtypes)


class Drawn:
    """The parts that samples are divided into; of too few of them both are all.

    Attributes:
        chosen_by: ranges are chosen by these.
        judged_by: the choice is judged by these.
        weighed: the first of those chosen by, as many as gradients are taken of.
        compared: the first of those judged by, as many as quantized networks are run on.
        walked: as many of those chosen by as the network can be walked with.
    """

    def __init__(self, plan: Plan, samples: Samples, seed: int) -> None:
        dtypes = [np.dtype(plan.graph.tensors[item.tensor].dtype) for item in plan.graph.inputs]
        rows = np.random.default_rng(seed).permutation(len(samples))
        spared = 0 if len(rows) < _TOO_FEW else len(rows) // _HELD_OUT
        values = _values(plan)
        most = max(_VALUES // values, _FEWEST)
        size = _batch_size(running.bytes_alive(plan.graph))
        self.chosen_by = Batches(samples, rows[spared:], size, dtypes)
        self.judged_by = Batches(samples, rows[:spared] if spared else rows, size, dtypes)
        self.weighed = self.chosen_by.first(min(most, _WEIGHED), _batch_size(4 * values))
        self.compared = self.judged_by.first(most)
        self.walked = self.chosen_by.first(walking.samples_within(plan.graph, _LIMIT_BYTES))


def _values(plan: Plan) -> int:
    """The values of all points of a sample."""
    rows, tensors = running.rows(plan.graph), plan.graph.tensors
    sizes = [rows[point] * math.prod(size or 1 for size in tensors[point].shape[1:]) for point in plan.points]
    return max(sum(sizes), 1)


def _batch_size(bytes_of_sample: int) -> int:
    return min(max(_BATCH_BYTES // bytes_of_sample, 1), _LARGEST_BATCH)
