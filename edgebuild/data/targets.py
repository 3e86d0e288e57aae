"""What a network's outputs are scored against: labels, or its own input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgebuild.core.metric import Metric
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples


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
