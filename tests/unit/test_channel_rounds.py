"""How far channel pruning goes: round by round while the score holds, then half-way to where it does not.

Networks are numbers here, the share of the cost that they have left: what is tested is who is tried, kept and trained.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from making import ACCURACY

from edgebuild.passes import channels
from edgebuild.passes.guard import Guard
from edgebuild.passes.surgery.surgeon import Cut

GUARD = Guard(0.9, 0.01, ACCURACY)


class Bench:
    """A surgeon and a trainer of networks that keep their score down to a share of the cost, and lose it below.

    Args:
        limit: that share, where a network is trained briefly.
        healed: the same after all that a round may have.
    """

    left_alone = ()
    metric = ACCURACY
    left, takes, time_s = 1.0, 0.0, 600.0
    lost, finishes = 0.5, False

    def __init__(self, limit: float, healed: float, goal: float) -> None:
        self.limit, self.healed, self.goal = limit, healed, goal
        self.parts: list[tuple[float, float]] = []
        self.said: list[str] = []

    def cuts(self, graph: float, share: float) -> list[Cut]:
        return [] if graph <= share else [Cut(share)]  # type: ignore[arg-type]

    def share(self, graph: float) -> float:
        return graph

    def __call__(self, model: float, part: float = 1.0) -> None:
        self.parts.append((model, part))
        self.left -= self.takes

    counts_epochs = True

    def expected_steps(self, part: float) -> int:
        return 0

    @property
    def evidence(self) -> Bench:
        return self

    def standing(self, model: float) -> float:
        longest = max(part for trained, part in self.parts if trained == model)
        if model >= (self.limit if longest < channels._AGAIN else self.healed):
            return 0.9
        return 0.9 if self.finishes and longest >= channels._FINAL else self.lost


def _gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> tuple[float, list[str]]:
    monkeypatch.setattr(channels, "Surgeon", lambda *_: bench)
    monkeypatch.setattr(channels, "building", SimpleNamespace(build=lambda g: g, learned=lambda _, model: model))
    monkeypatch.setattr(channels, "narrowed", lambda *_: ())
    settings: Any = SimpleNamespace(keep=bench.goal, rounds=4, cost="macs")
    job: Any = SimpleNamespace(latencies=None)
    pruning = channels._Pruning(job, settings, 1.0, bench, bench.said.append)  # type: ignore[arg-type]
    return float(pruning.go(GUARD)), pruning.notes  # type: ignore[arg-type]


def test_the_goal_is_reached_where_the_score_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limit=0.4, healed=0.4, goal=0.5)
    left, notes = _gone(bench, monkeypatch)
    assert left == pytest.approx(0.5)
    assert "50.0 % of the macs is left" in notes
    assert len(bench.said) == 4
    assert bench.parts[-1] == (left, pytest.approx(1 - channels._BETWEEN))


def test_a_round_that_needed_more_training_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limit=0.8, healed=0.4, goal=0.5)
    left, _ = _gone(bench, monkeypatch)
    assert left == pytest.approx(0.5)


def test_what_lies_between_the_last_that_held_and_the_first_that_did_not_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(limit=0.66, healed=0.66, goal=0.3)
    left, notes = _gone(bench, monkeypatch)
    rounds = [0.3 ** (number / 4) for number in range(1, 5)]
    assert rounds[0] > left > 0.66 > rounds[1]
    assert left < 0.95 * rounds[0]
    assert any("reverted the cut to 54.77 % of the macs" in note for note in notes)


def test_the_training_is_never_more_than_there_is_and_ends_with_what_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limit=0.79, healed=0.79, goal=0.1)
    _gone(bench, monkeypatch)
    parts = [part for _, part in bench.parts]
    assert sum(parts) == pytest.approx(1.0)
    assert parts[-1] >= channels._FINAL


def test_a_network_that_bears_nothing_is_not_trained_on_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limit=1.0, healed=1.0, goal=0.5)
    left, notes = _gone(bench, monkeypatch)
    assert left == 1.0
    assert any(note.startswith("reverted the cut") for note in notes)
    assert all(model < 1.0 for model, _ in bench.parts)


@pytest.mark.parametrize(("finishes", "left"), [(True, 0.5), (False, 0.5**0.75)])
def test_a_goal_that_is_nearly_reached_gets_what_is_left_of_the_training(
    finishes: bool, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(limit=0.55, healed=0.55, goal=0.5)
    bench.lost, bench.finishes = 0.885, finishes
    found, notes = _gone(bench, monkeypatch)
    assert found == pytest.approx(left)
    assert any(note.startswith("reverted the cut to 50.0 %") for note in notes) != finishes
    assert sum(part for _, part in bench.parts) <= 1 + 1e-9


@pytest.mark.parametrize(("lost", "left"), [(0.85, 0.5**0.25), (0.5, 1.0)])
def test_a_first_cut_that_did_not_recover_gets_all_that_is_left_where_that_may_help(
    lost: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(limit=1.0, healed=1.0, goal=0.5)
    bench.lost, bench.finishes = lost, True
    found, notes = _gone(bench, monkeypatch)
    assert found == pytest.approx(left)
    assert any(note.startswith("reverted the cut") for note in notes) == (left == 1.0)
    assert sum(part for _, part in bench.parts) <= 1 + 1e-9


def test_time_that_is_not_used_is_spent_on_what_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limit=0.4, healed=0.4, goal=0.5)
    bench.counts_epochs, bench.takes = False, 0.01
    _gone(bench, monkeypatch)
    assert bench.parts[-1][1] == pytest.approx(1 - 4 * bench.takes)


@pytest.mark.parametrize(("time_s", "counts_epochs", "rounds"), [(5.0, False, 1), (25.0, False, 2), (5.0, True, 4)])
def test_little_time_is_not_divided_among_many_rounds(
    time_s: float, counts_epochs: bool, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(limit=0.4, healed=0.4, goal=0.5)
    bench.time_s, bench.counts_epochs = time_s, counts_epochs
    left, _ = _gone(bench, monkeypatch)
    assert left == pytest.approx(0.5)
    assert len(bench.said) == rounds


def test_nothing_is_tried_again_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(limit=0.79, healed=0.79, goal=0.1)
    bench.left = 0.1
    left, notes = _gone(bench, monkeypatch)
    assert left == 1.0
    assert len(bench.parts) == 1
    assert "no smaller step was tried: [train] time is over; give more (--time)" in notes


@pytest.mark.parametrize(("takes", "rounds"), [(0.0, 4), (0.2, 3), (0.3, 2), (0.9, 2)])
def test_rounds_are_fewer_where_each_takes_long_and_the_goal_stays(
    takes: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(limit=0.1, healed=0.1, goal=0.5)
    bench.takes = takes
    left, notes = _gone(bench, monkeypatch)
    assert left == pytest.approx(0.5)
    assert len(bench.parts) == rounds + 1  # and what finishes
    assert any("rounds were made larger" in note for note in notes) == (rounds < 4)
