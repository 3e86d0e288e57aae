"""What a range costs the network's answers, measured to the first order on samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgebuild.passes.calibration.grid import Array, Range, onto
from edgebuild.passes.calibration.probing import Batch, Probe


def costs(
    probe: Probe, candidates: Mapping[int, Sequence[Range]], batches: Iterable[Batch]
) -> dict[int, npt.NDArray[np.float64]]:
    """For each candidate of each point the mean square of the change of the answers that rounding onto it makes.

    The change is the sum over a sample's values of error times gradient. Errors of clipping have one sign and add up,
    those of rounding cancel; a sum of squares for each value would take both for the same.

    Args:
        probe: the network.
        candidates: by point.
        batches: samples.
    """
    totals = {point: np.zeros(len(ranges)) for point, ranges in candidates.items()}
    for batch in batches:
        for values, gradients in probe.gradients(batch):
            for point, ranges in candidates.items():
                changes = [_change(values[point], gradients[point], chosen) for chosen in ranges]
                totals[point] += np.square(changes).sum(1)
    return totals


def _change(values: Array, gradients: Array, chosen: Range) -> npt.NDArray[np.float64]:
    """The change of each sample's projected answers."""
    errors = onto(values, chosen) - values
    axes = tuple(range(1, errors.ndim))
    return np.asarray((errors * gradients).sum(axes, dtype=np.float64))
