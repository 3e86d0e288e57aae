from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as for_all, strategies as st

from edgebuild.core.plan import Split
from edgebuild.data.given import Examples, Given
from edgebuild.data.splitting import Divided, divide

HOW = Split(calibration_samples=10, evaluation_share=0.2, seed=0)


def _split(start: int, count: int) -> Examples | None:
    """Samples whose values are their own numbers, and whose answers are ten times that."""
    rows = np.arange(start, start + count)
    return Examples((rows[:, np.newaxis],), rows * 10) if count else None


def _numbers(examples: Examples | None) -> list[int]:
    if examples is None:
        return []
    assert examples.y is not None
    assert (examples.y == examples.x[0][:, 0] * 10).all()
    return [int(number) for number in examples.x[0][:, 0]]


def _divide(train: int = 0, calibration: int = 0, evaluation: int = 0, how: Split = HOW) -> Divided:
    return divide(Given(_split(0, train), _split(1000, calibration), _split(2000, evaluation)), how)


def _counts(divided: Divided) -> tuple[int, int, int]:
    return len(_numbers(divided.train)), len(_numbers(divided.calibration)), len(_numbers(divided.evaluation))


@pytest.mark.parametrize(
    ("train", "calibration", "evaluation", "counts", "notes"),
    [
        (100, 20, 30, (100, 20, 30), 0),
        (100, 0, 30, (90, 10, 30), 1),
        (100, 20, 0, (80, 20, 20), 1),
        (100, 0, 0, (70, 10, 20), 2),
        (0, 20, 30, (0, 20, 30), 0),
        (0, 0, 30, (0, 10, 20), 1),
        (0, 0, 8, (0, 4, 4), 1),
        (0, 20, 0, (0, 20, 0), 0),
        (8, 0, 30, (4, 4, 30), 1),
        (0, 0, 1, (0, 0, 1), 0),
        (0, 0, 0, (0, 0, 0), 0),
    ],
)
def test_missing_splits_are_drawn_from_those_there_are(
    train: int, calibration: int, evaluation: int, counts: tuple[int, int, int], notes: int
) -> None:
    divided = _divide(train, calibration, evaluation)
    assert _counts(divided) == counts
    assert len(divided.notes) == notes


def test_splits_that_were_given_are_left_as_they_are() -> None:
    divided = _divide(100, 20, 30)
    assert _numbers(divided.evaluation) == list(range(2000, 2030))
    assert _numbers(divided.train) == list(range(100))


def test_drawing_all_for_evaluation_leaves_a_sample_to_calibrate_with() -> None:
    how = Split(calibration_samples=10, evaluation_share=1.0, seed=0)
    assert _counts(_divide(train=10, how=how)) == (0, 1, 9)


def test_what_was_drawn_is_said_with_count_and_seed() -> None:
    calibration, *_ = _divide(train=100, evaluation=5).notes
    assert calibration == "no calibration split was given: 10 samples were drawn from train (seed 0)"
    (only,) = _divide(evaluation=30).notes
    assert "10 of them were drawn for calibration and are not scored on" in only


@for_all(
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(1, 70),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_no_sample_is_in_two_splits_and_none_is_lost(
    train: int, calibration: int, evaluation: int, draw: int, share: float, seed: int
) -> None:
    how = Split(calibration_samples=draw, evaluation_share=share, seed=seed)
    divided = _divide(train, calibration, evaluation, how)
    splits = (divided.train, divided.calibration, divided.evaluation)
    numbers = [number for split in splits for number in _numbers(split)]
    assert len(numbers) == len(set(numbers)) == train + calibration + evaluation


def test_networks_may_learn_from_all_of_train_that_is_not_evaluated_on() -> None:
    divided = _divide(train=100)
    evaluated = set(_numbers(divided.evaluation))
    assert divided.learning.tolist() == [number for number in range(100) if number not in evaluated]
    assert set(_numbers(divided.calibration)) < set(divided.learning.tolist())
    assert _divide(train=100, evaluation=5).learning.tolist() == list(range(100))
    assert _divide(evaluation=30).learning.tolist() == []


def test_drawing_is_the_same_each_time() -> None:
    assert _numbers(_divide(train=100).evaluation) == _numbers(_divide(train=100).evaluation)


def test_another_seed_draws_other_samples() -> None:
    other = Split(calibration_samples=10, evaluation_share=0.2, seed=1)
    assert _numbers(_divide(train=100).evaluation) != _numbers(_divide(train=100, how=other).evaluation)


def test_samples_are_drawn_from_all_over_and_keep_their_order() -> None:
    drawn = _numbers(_divide(train=1000).evaluation)
    assert drawn == sorted(drawn)
    assert min(drawn) < 100
    assert max(drawn) > 900
