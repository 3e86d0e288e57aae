from __future__ import annotations

import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.stats import median, percentile, summarize

SAMPLES = st.lists(st.floats(0, 1e3), min_size=1, max_size=80)
# Shares that floats hold exactly, so that the definition can be worked out in fractions.
SHARES = st.integers(0, 64).map(lambda count: count / 64)


@given(SAMPLES, SHARES)
def test_a_percentile_is_the_smallest_sample_that_enough_samples_do_not_exceed(
    samples: list[float], share: float
) -> None:
    def reaches(candidate: float) -> bool:
        return Fraction(sum(sample <= candidate for sample in samples), len(samples)) >= Fraction(share)

    assert percentile(samples, share) == min(filter(reaches, samples))


@pytest.mark.parametrize("count", [10, 20, 70, 100, 200, 1000])
def test_p90_is_the_sample_with_nine_tenths_at_or_below_it(count: int) -> None:
    assert percentile(range(1, count + 1), 0.9) == count * 9 // 10


@given(SAMPLES)
def test_the_median_is_that_of_the_standard_library(samples: list[float]) -> None:
    assert median(samples) == pytest.approx(statistics.median(samples))


def test_the_order_of_the_samples_does_not_matter_and_is_kept() -> None:
    samples = [5.0, 1.0, 3.0]
    assert summarize(samples) == {"median": 3.0, "p90": 5.0, "min": 1.0, "max": 5.0}
    assert samples == [5.0, 1.0, 3.0]


@pytest.mark.parametrize("of", [median, summarize, lambda samples: percentile(samples, 0.5)])
def test_nothing_can_be_said_of_no_samples(of: object) -> None:
    with pytest.raises(ValueError, match="no samples"):
        of([])  # type: ignore[operator]
