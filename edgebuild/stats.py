"""Statistics that need nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Sequence

# How many standard errors the 95 % interval of a normal distribution reaches to each side.
NORMAL = 1.959963984540054
# The same of Student's t, by degrees of freedom from 1.
_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two middle ones; raises ValueError where there is none."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def student(freedom: int) -> float:
    """How many standard errors the 95 % interval reaches to each side, with so many degrees of freedom (at least 1).

    Beyond the table by the expansion about the normal distribution (Abramowitz and Stegun 1964, 26.7.5).
    """
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z = NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def sign_test(more: int, fewer: int) -> float:
    """How likely so many or more of all that are in one of two classes are in the first, where both are as likely.

    The exact binomial test, one-sided; 1 where there are none at all.
    """
    total = more + fewer
    ways: int = sum(math.comb(total, count) for count in range(more, total + 1))
    return float(ways / 2**total)


def at_most(hits: int, total: int, share: float) -> float:
    """How likely so many or fewer of all are hits, where each is one with the same probability.

    The lower tail of the binomial distribution, exact but for rounding.

    Args:
        hits: from 0 to total.
        total: of independent trials.
        share: the probability of a hit, above 0 and below 1.
    """
    ways = math.lgamma(total + 1)
    hit, miss = math.log(share), math.log1p(-share)
    logs = (
        ways - math.lgamma(count + 1) - math.lgamma(total - count + 1) + count * hit + (total - count) * miss
        for count in range(hits + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def at_least(hits: int, chances: Sequence[float]) -> float:
    """A bound on how likely so many or more of independent trials are hits.

    The Chernoff bound for trials of unlike probabilities (Hoeffding 1963, "Probability inequalities for sums of bounded
    random variables", theorem 1): it is never too small. 1 where there are no trials.

    Args:
        hits: from 0 to the number of trials.
        chances: the probability of a hit for each trial, above 0.
    """
    total = len(chances)
    expected = math.fsum(chances)
    if hits <= expected:
        return 1.0
    misses = total - hits
    rest = misses * math.log(misses / (total - expected)) if misses else 0.0
    return math.exp(-hits * math.log(hits / expected) - rest)
