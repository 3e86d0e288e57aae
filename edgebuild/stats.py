"""Statistics that need nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

# How many standard errors the 95 % interval of a normal distribution reaches to each side.
NORMAL = 1.959963984540054
_USUAL = 0.95
_HALVINGS = 60  # of an interval that is searched: to the last bit
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


def normal(confidence: float) -> float:
    """How many standard errors a two-sided interval of a normal distribution reaches to each side.

    Args:
        confidence: above 0 and below 1.
    """
    return NORMAL if confidence == _USUAL else NormalDist().inv_cdf((1 + confidence) / 2)


def student(freedom: int, confidence: float = _USUAL) -> float:
    """How many standard errors an interval reaches to each side, with so many degrees of freedom (at least 1).

    Beyond the table of 95 % by the expansion about the normal distribution (Abramowitz and Stegun 1964, 26.7.5).
    """
    if freedom <= len(_STUDENT) and confidence == _USUAL:
        return _STUDENT[freedom - 1]
    z = normal(confidence)
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


def paired_difference(more: int, fewer: int, pairs: int, confidence: float = _USUAL) -> tuple[float, float]:
    """The interval of a difference of two proportions that were found of the same things.

    The score interval of T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17, 1998, 891-908. It keeps its confidence in small samples, and says
    something where no pair differs: Fagerland, Lydersen and Laake, "Recommended tests and confidence intervals for
    paired binomial proportions", Statistics in Medicine 33, 2014, 2850-2875, section 7, recommend it.

    Args:
        more: pairs of which the first alone has the property.
        fewer: pairs of which the second alone has it.
        pairs: all of them, at least 1.
        confidence: above 0 and below 1.

    Returns:
        The lowest and the highest difference (first - second), between -1 and 1.
    """
    found, z = (more - fewer) / pairs, normal(confidence)

    def score(difference: float) -> float:
        """Standard errors between what was found and a difference."""
        a, c = 2 * pairs, -fewer * difference * (1 - difference)
        b = (2 * pairs - more + fewer) * difference - more - fewer
        lost = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = pairs * (2 * lost + difference * (1 - difference))
        distance = more - fewer - pairs * difference
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    low = _border(lambda difference: score(difference) > z, -1.0, found)
    high = _border(lambda difference: score(difference) >= -z, found, 1.0)
    return low, high


def _border(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition ends that holds from `low` on and does not at `high`, by bisection."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def mean_difference(mean: float, deviation: float, pairs: int, confidence: float = _USUAL) -> tuple[float, float]:
    """The interval of a mean of differences, by Student's t (Biometrika 6, 1908).

    Args:
        mean: of the differences.
        deviation: their standard deviation, by pairs - 1.
        pairs: how many there are, at least 2.
        confidence: above 0 and below 1.
    """
    half = student(pairs - 1, confidence) * deviation / math.sqrt(pairs)
    return mean - half, mean + half


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
