"""What a range costs the network's outputs, measured to the first order on samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgebuild.passes.calibration.grid import Range, rounded
from edgebuild.passes.calibration.histograms import Histogram


def costs(histogram: Histogram, candidates: Sequence[Range]) -> npt.NDArray[np.float64]:
    """For each candidate the mean square of the change of the outputs that rounding a point's values onto it makes.

    The change is the sum over a sample's values of error times gradient. Errors of clipping have one sign and add up,
    those of rounding cancel; a sum of squares for each value would take both for the same. Values of one bin have the
    error of its middle.

    Args:
        histogram: of the point, with slopes.
        candidates: of it.
    """
    errors = np.stack([rounded(histogram.centers, chosen) - histogram.centers for chosen in candidates], 1)
    changes = histogram.slopes @ errors.astype(np.float32)
    return np.asarray(np.square(changes, dtype=np.float64).sum(0))
