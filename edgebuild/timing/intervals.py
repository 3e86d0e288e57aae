"""Intervals of the quantiles of one artifact's samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgebuild.timing.quantiles import SHARES, Samples, is_estimable, quantile
from edgebuild.timing.resampling import reach, resampled_quantiles

Interval = tuple[float, float]
# Samples by process and block, in order; every block has at least one.
Processes = Sequence[Sequence[Samples]]

_SEED = 0
# Of the exponential function beyond this there is no float.
_ENDLESS = 700.0


def intervals(processes: Processes) -> dict[str, Interval]:
    """95 % intervals of the quantiles, by the bootstrap of `resampling`.

    Samples are positive. A quantile that there are too few samples for is left out, and so is everything where there is
    one block alone. Of a single process the interval tells nothing of what another process would give.
    """
    found = {name: _interval(processes, share) for name, share in SHARES.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def of_median(processes: Processes) -> Interval | None:
    """The 95 % interval of the median, as in `intervals`; None where there is one block alone."""
    return _interval(processes, SHARES["median"])


def around(value: float, half: float) -> Interval:
    """The interval about a positive value whose logarithm is known to within `half`."""
    return value * math.exp(-half), value * math.exp(half) if half < _ENDLESS else math.inf


def half_width(interval: Interval) -> float:
    """Half the width of an interval as a share of its middle; 0 where both ends are 0."""
    low, high = interval
    return (high - low) / (high + low) if high + low > 0 else 0.0


def _interval(processes: Processes, share: float) -> Interval | None:
    samples = np.concatenate([block for process in processes for block in process])
    if not is_estimable(samples.size, share):
        return None
    half = reach(resampled_quantiles(processes, share, _SEED), [len(process) for process in processes])
    return around(quantile(samples, share), half) if math.isfinite(half) else None
