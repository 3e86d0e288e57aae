"""The statistics that samples are summed up in."""

from __future__ import annotations

from typing import Any

import numpy as np

# The quantiles that are told and compared, and the share of samples at or below each.
SHARES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
# With fewer samples beyond a quantile than this its interval would rest on a handful of accidents.
_FEWEST_BEYOND = 5

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
