"""Statistics of raw samples."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample with at least `share` of all samples at or below it (nearest rank; no interpolation).

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two middle ones; raises ValueError where there is none."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def summarize(samples: Sequence[float]) -> dict[str, float]:
    """Median, p90, minimum and maximum, in the samples' unit; raises ValueError where there is none."""
    return {
        "median": median(samples),
        "p90": percentile(samples, 0.9),
        "min": min(samples),
        "max": max(samples),
    }
