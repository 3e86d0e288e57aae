"""The statistics that samples are summed up in, and how certain a t distribution lets one be of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# The quantiles that are told and compared, and the share of samples at or below each.
SHARES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
# With fewer samples beyond a quantile than this its interval would rest on a handful of accidents.
_FEWEST_BEYOND = 5
# How many standard errors the 95 % interval of a normal distribution reaches to each side.
NORMAL = 1.959963984540054

Samples = np.ndarray[Any, np.dtype[np.float64]]


def describe(samples: Samples) -> dict[str, float]:
    """Median, p90, p99, minimum and maximum in the samples' unit; quantiles but the median by nearest rank.

    Raises:
        ValueError: there is no sample.
    """
    if not samples.size:
        raise ValueError("no samples")
    found = {name: quantile(samples, share) for name, share in SHARES.items()}
    return {**found, "min": float(samples.min()), "max": float(samples.max())}


def quantile(samples: Samples, share: float) -> float:
    """The smallest sample with at least `share` of all at or below it; of the median the usual mean of two."""
    return float(np.quantile(samples, share, method="hazen" if share == SHARES["median"] else "inverted_cdf"))


def is_estimable(count: int, share: float) -> bool:
    """Whether so many samples are enough for an interval of this quantile."""
    return share <= SHARES["median"] or count * (1 - share) >= _FEWEST_BEYOND


def student(freedom: int) -> float:
    """How many standard errors the 95 % interval reaches to each side, with so many degrees of freedom (at least 1).

    The first two in closed form, then the expansion about the normal distribution (Abramowitz and Stegun 1964, 26.7.5):
    3.179 for 3 degrees instead of 3.182, closer for more.
    """
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 / math.sqrt(2 * 0.975 * 0.025)
    z = NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))
