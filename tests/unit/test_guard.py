"""What a pass may cost, held against what the network is worth on samples that it did not learn by heart."""

from __future__ import annotations

from typing import Any

import pytest
from making import ACCURACY, metric

from edgebuild.actions.compression import Unseen
from edgebuild.passes import guard as module
from edgebuild.passes.guard import Guard, drop


@pytest.mark.parametrize(
    ("name", "before", "after", "lost"),
    [("accuracy", 0.9, 0.88, 0.02), ("accuracy", 0.9, 0.95, -0.05), ("mse", 2.0, 2.5, 0.25), ("mse", 0.0, 0.5, 0.5)],
)
def test_a_drop_is_points_of_a_share_and_a_share_of_an_error(
    name: str, before: float, after: float, lost: float
) -> None:
    assert drop(before, after, metric(name)) == pytest.approx(lost)


def test_a_guard_lets_pass_what_holds_and_says_what_does_not() -> None:
    guard = Guard(0.95, 0.01, ACCURACY)
    assert guard.holds(0.945)
    assert not guard.holds(0.93)
    assert guard.holds(None)
    assert not guard.holds(float("nan"))
    assert Guard(None, 0.0, ACCURACY).holds(0.1)
    assert guard.refusal("it", 0.93) == (
        "reverted it: validation accuracy fell by 2.0 points (limit 1.0 points), from 95.0 % to 93.0 %"
    )
    assert guard.said() == ()
    assert guard.comparison(0.945) == "validation accuracy 94.5 %, original 95.0 %, limit 1.0 points"
    assert guard.comparison(None) == "validation no labels"
    assert guard.refusal("it", float("nan")) == (
        "reverted it: validation no numbers, original 95.0 %, limit 1.0 points"
    )
    assert Guard(0.2, 0.1, metric("mse")).refusal("it", 0.3) == (
        "reverted it: validation mse rose by 50.0 % (limit 10.0 %), from 0.2 to 0.3"
    )


def test_what_is_within_a_standard_error_is_no_drop() -> None:
    assert Guard(0.95, 0.02, ACCURACY, samples=24).holds(0.92)
    assert not Guard(0.95, 0.02, ACCURACY, samples=24).holds(0.90)  # that few samples cannot tell is no excuse
    assert not Guard(0.95, 0.0, ACCURACY, samples=24).holds(0.94)
    assert not Guard(0.95, 0.01, ACCURACY, samples=4000).holds(0.93)
    assert Guard(0.95, 0.03, ACCURACY, samples=4000).holds(0.93)
    assert not Guard(0.2, 0.01, metric("mse"), samples=24).holds(0.21)
    assert not Guard(0.95, 0.01, ACCURACY, samples=24).holds(float("nan"))


def _guard(monkeypatch: pytest.MonkeyPatch, score: float, unseen: Unseen | None, name: str, samples: int) -> Guard:
    class Scores:
        """A trainer that has scored the original."""

        metric = ACCURACY if name == "accuracy" else metric(name)
        validation_samples = samples

        def __init__(self) -> None:
            self.unseen = unseen
            self.evidence = self

        def score(self, _: Any) -> float:
            return score

    monkeypatch.setattr(module.building, "build", lambda graph: graph)
    return Guard.of(None, 0.01, Scores())  # type: ignore[arg-type]


def test_a_network_that_knows_its_validation_samples_by_heart_is_taken_at_its_word_on_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = _guard(monkeypatch, 0.9975, Unseen(score=0.91, samples=4000), "accuracy", 400)
    assert guard.standard == 0.91
    assert guard.holds(0.905)
    assert not guard.holds(0.88)
    (said,) = guard.said()
    assert "(accuracy 99.75 %; accuracy 91.0 % on evaluation samples)" in said
    assert "from 91.0 % to 88.0 %" in guard.refusal("it", 0.88)
    assert "original 91.0 % (on evaluation samples), limit" in guard.comparison(0.905)


@pytest.mark.parametrize(
    ("score", "unseen", "name", "samples"),
    [
        (0.92, Unseen(score=0.91, samples=4000), "accuracy", 400),  # by chance
        (0.90, Unseen(score=0.95, samples=4000), "accuracy", 400),
        (0.99, None, "accuracy", 400),
        (0.20, Unseen(score=0.21, samples=400), "mse", 400),
    ],
)
def test_a_network_that_is_as_good_on_others_is_held_against_its_validation_score(
    score: float, unseen: Unseen | None, name: str, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = _guard(monkeypatch, score, unseen, name, samples)
    assert guard.standard == score
    assert guard.said() == ()


def test_an_error_that_is_much_smaller_on_validation_was_learnt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _guard(monkeypatch, 0.1, Unseen(score=0.2, samples=400), "mse", 400).standard == 0.2
