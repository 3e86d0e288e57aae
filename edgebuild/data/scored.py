"""What a network is scored by on a split: its outputs as they are kept, and what they are scored against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebuild.core.losses import OUTPUTS
from edgebuild.core.metric import Metric
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples

# A mask for each of thousands of samples would fill the store.
_MOST_BYTES = 256 * 10**6


def keep_outputs(outputs: Array, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
    """Write real-valued outputs [samples, ...] into a folder: all, or as many first ones as there is room for."""
    rows = max(1, most_bytes // max(1, outputs[:1].nbytes))
    np.save(folder / OUTPUTS, np.ascontiguousarray(outputs[:rows]))


def kept_outputs(folder: Path) -> Array:
    """What `keep` wrote, memory-mapped."""
    found: Array = np.load(folder / OUTPUTS, mmap_mode="r")
    return found


def wanted(samples: Samples, metric: Metric, rows: npt.NDArray[np.intp] | None = None) -> Array | None:
    """Labels, or the input as the network is fed it where the metric compares with that; None where there are none.

    Args:
        samples: one split.
        metric: settled.
        rows: the positions of those that are asked for; None for all.
    """
    if not metric.target:
        if samples.y is None:
            return None
        return np.asarray(samples.y if rows is None else samples.y[rows])
    # Integers are targets as they are, and become float without a loss that matters to an error.
    dtypes: list[np.dtype[np.generic]] = [np.dtype(np.float32)] * len(samples.given)
    every = np.arange(len(samples)) if rows is None else rows
    return samples.take(every, dtypes)[metric.input]
