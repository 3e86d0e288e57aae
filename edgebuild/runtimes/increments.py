"""From the times of a network's prefixes to those of its parts: pure arithmetic on what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.core.comparison import Interval

Array = npt.NDArray[Any]

_RESAMPLES = 1000
_TAILS = (2.5, 97.5)


class Increments(NamedTuple):
    """What each prefix takes more than the one before it, with 95 % intervals, in the unit of the times."""

    values: tuple[float, ...]
    intervals: tuple[Interval, ...]


def increments(visits: Array, seed: int = 0) -> Increments:
    """The differences of the times of growing prefixes, none of them below zero.

    The time of a prefix is that of its quietest visit: others on the machine only ever add to a time. Where noise makes
    a longer prefix faster than a shorter one, the nearest rising sequence is taken instead (`isotonic`); the
    differences add up to last minus first of it. Intervals are the range of 95 % of what half of the rounds, drawn
    without replacement, give: the bootstrap of as many as there are fails for a minimum (Politis & Romano, Large Sample
    Confidence Regions Based on Subsamples, 1994, section 2). Rounds are drawn whole, since what disturbs the machine
    disturbs neighbours in a round alike.

    Args:
        visits: [rounds, prefixes], from short to long; at least two prefixes and one round.
        seed: of the resampling.

    Returns:
        One less than there are prefixes.
    """
    rng = np.random.default_rng(seed)
    half = max(1, len(visits) // 2)
    resampled = np.stack([_differences(rng.permutation(visits)[:half]) for _ in range(_RESAMPLES)])
    lower, upper = np.percentile(resampled, _TAILS, axis=0)
    values = _differences(visits)
    # Half of few rounds may always lie on one side of the figure itself.
    lower, upper = np.minimum(lower, values), np.maximum(upper, values)
    return Increments(
        tuple(map(float, values)), tuple((float(low), float(high)) for low, high in zip(lower, upper, strict=True))
    )


def isotonic(values: Sequence[float]) -> list[float]:
    """The sequence that never falls and is nearest to the given one in least squares.

    Pool adjacent violators (Barlow, Bartholomew, Bremner & Brunk, Statistical Inference under Order Restrictions, 1972,
    section 1.2): neighbours that fall are replaced by their mean, until none falls.
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _differences(visits: Array) -> Array:
    return np.diff(isotonic(visits.min(axis=0).tolist()))
