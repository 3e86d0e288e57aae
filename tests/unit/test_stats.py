from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from edgebuild.stats import at_least, at_most, median, sign_test, student
from edgebuild.timing.intervals import SHARES as TOLD, describe, quantile

SAMPLES = st.lists(st.floats(0, 1e3), min_size=1, max_size=80)
# Shares that floats hold exactly, so that the definition can be worked out in fractions.
SHARES = st.integers(0, 64).map(lambda count: count / 64).filter(lambda share: share != TOLD["median"])


@given(SAMPLES, SHARES)
def test_a_percentile_is_the_smallest_sample_that_enough_samples_do_not_exceed(
    samples: list[float], share: float
) -> None:
    def reaches(candidate: float) -> bool:
        return Fraction(sum(sample <= candidate for sample in samples), len(samples)) >= Fraction(share)

    assert quantile(np.asarray(samples), share) == min(filter(reaches, samples))


@pytest.mark.parametrize("count", [10, 20, 70, 100, 200, 1000])
def test_p90_is_the_sample_with_nine_tenths_at_or_below_it(count: int) -> None:
    assert quantile(np.arange(1.0, count + 1), 0.9) == count * 9 // 10


@given(SAMPLES)
def test_the_median_is_that_of_the_standard_library(samples: list[float]) -> None:
    assert median(samples) == pytest.approx(statistics.median(samples))


def test_the_order_of_the_samples_does_not_matter_and_is_kept() -> None:
    samples = np.asarray([5.0, 1.0, 3.0])
    assert describe(samples) == {"median": 3.0, "p90": 5.0, "p99": 5.0, "min": 1.0, "max": 5.0}
    assert samples.tolist() == [5.0, 1.0, 3.0]


@pytest.mark.parametrize("of", [median, lambda samples: describe(np.asarray(samples))])
def test_nothing_can_be_said_of_no_samples(of: object) -> None:
    with pytest.raises(ValueError, match="no samples"):
        of([])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("freedom", "reach"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (31, 2.0395), (1000, 1.9623)],
)
def test_students_t_is_that_of_the_tables(freedom: int, reach: float) -> None:
    assert student(freedom) == pytest.approx(reach, abs=5e-4)


@pytest.mark.parametrize(("more", "fewer", "chance"), [(8, 2, 56 / 1024), (5, 0, 1 / 32), (1, 1, 0.75), (0, 0, 1.0)])
def test_the_sign_test_counts_the_ways_that_are_as_far_from_even(more: int, fewer: int, chance: float) -> None:
    assert sign_test(more, fewer) == pytest.approx(chance)


def test_the_sign_test_stands_large_counts() -> None:
    assert sign_test(2_000, 2_000) == pytest.approx(0.5, abs=0.01)
    assert sign_test(2_100, 1_900) == pytest.approx(0.0008, rel=0.1)


@pytest.mark.parametrize(
    ("hits", "total", "share"), [(0, 10, 0.1), (3, 40, 0.25), (7, 7, 0.5), (0, 0, 0.5), (20, 30, 0.5)]
)
def test_the_lower_tail_adds_up_the_ways_to_so_few_hits(hits: int, total: int, share: float) -> None:
    exact = Fraction(share)
    terms = (math.comb(total, count) * exact**count * (1 - exact) ** (total - count) for count in range(hits + 1))
    assert at_most(hits, total, share) == pytest.approx(float(sum(terms)))


def test_the_lower_tail_stands_large_counts() -> None:
    assert at_most(100_000, 1_000_000, 0.1) == pytest.approx(0.5, abs=0.01)
    assert at_most(99_000, 1_000_000, 0.1) == pytest.approx(0.00043, rel=0.05)


@given(st.lists(st.floats(0.01, 0.99), max_size=8), st.integers(0, 8))
def test_the_bound_on_the_upper_tail_is_never_too_small(chances: list[float], hits: int) -> None:
    ways = np.ones(1)
    for chance in chances:
        ways = np.convolve(ways, [1 - chance, chance])
    hits = min(hits, len(chances))
    assert ways[hits:].sum() <= at_least(hits, chances) * (1 + 1e-9)


def test_the_bound_on_the_upper_tail_is_exact_where_all_are_hits() -> None:
    assert at_least(3, [0.1, 0.1, 0.1]) == pytest.approx(1e-3)
    assert at_least(0, []) == at_least(1, [0.9, 0.8, 0.7]) == 1.0
