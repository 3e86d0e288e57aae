from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import WARN, budget, figure

from edgebuild.core.budget import Budget, Unit
from edgebuild.core.measurement import Measurement
from edgebuild.core.verdict import Check, Status
from edgebuild.gate import judge, worst


def _check(limit: Budget, *figures: Measurement, lower_is_better: bool = False) -> Check:
    (check,) = judge([limit], figures, lower_is_better=lower_is_better).checks
    return check


@pytest.mark.parametrize(("value", "status"), [(59_999, "pass"), (60_000, "pass"), (60_001, "fail"), (0, "pass")])
def test_a_size_is_limited_from_above(value: float, status: str) -> None:
    check = _check(budget("size", 60_000), figure("size", value))
    assert (check.status, check.value, check.headroom) == (status, value, 60_000 - value)


@pytest.mark.parametrize(("value", "status"), [(0.91, "pass"), (0.90, "pass"), (0.8999, "fail"), (1.0, "pass")])
def test_an_accuracy_is_limited_from_below(value: float, status: str) -> None:
    check = _check(budget("accuracy", 0.9), figure("accuracy", value))
    assert check.status == status
    assert check.headroom == pytest.approx(value - 0.9)


@pytest.mark.parametrize(("value", "status"), [(0.19, "pass"), (0.2, "pass"), (0.21, "fail")])
def test_a_score_where_less_is_better_is_limited_from_above(value: float, status: str) -> None:
    assert _check(budget("accuracy", 0.2), figure("accuracy", value), lower_is_better=True).status == status


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_a_drop_is_limited_from_above_whatever_the_metric(lower_is_better: bool) -> None:
    limit = budget("accuracy_drop", 0.01)
    assert _check(limit, figure("accuracy_drop", 0.02), lower_is_better=lower_is_better).status == Status.FAIL
    assert _check(limit, figure("accuracy_drop", -0.02), lower_is_better=lower_is_better).status == Status.PASS


def test_a_drop_that_equals_its_limit_but_for_the_last_bit_is_kept() -> None:
    drop = 0.91 - 0.90
    assert drop > 0.01
    assert _check(budget("accuracy_drop", 0.01), figure("accuracy_drop", drop)).status == Status.PASS


def test_a_small_limit_is_not_blurred_by_the_tolerance_for_the_last_bit() -> None:
    check = _check(budget("accuracy", 1e-10), figure("accuracy", 9e-10), lower_is_better=True)
    assert check.status == Status.FAIL


def test_a_broken_budget_at_level_warn_is_a_warning() -> None:
    check = _check(budget("size", 10, level=WARN), figure("size", 11))
    assert (check.status, check.reason) == (Status.WARN, "over the limit")


@pytest.mark.parametrize(("value", "status"), [(89, "pass"), (90, "pass"), (91, "warn"), (100, "warn"), (101, "fail")])
def test_less_headroom_than_asked_for_is_a_warning(value: float, status: str) -> None:
    assert _check(budget("size", 100, headroom=0.1), figure("size", value)).status == status


def test_the_headroom_of_a_minimum_is_above_it() -> None:
    limit = budget("accuracy", 0.5, headroom=0.1)
    assert _check(limit, figure("accuracy", 0.54)).status == Status.WARN
    assert _check(limit, figure("accuracy", 0.56)).status == Status.PASS


@pytest.mark.parametrize(("level", "status"), [("error", "inconclusive"), ("warn", "warn")])
def test_a_missing_figure_is_never_passed(level: str, status: str) -> None:
    check = _check(budget("latency", 0.005, level=level, on="ssh:pi"), figure("latency", 0.001, where="host"))
    assert (check.status, check.value, check.headroom) == (status, None, None)
    assert check.reason == "no figure for latency on ssh:pi"


def test_a_figure_counts_only_for_its_own_place() -> None:
    figures = (figure("latency", 0.009, where="host"), figure("latency", 0.001, where="ssh:pi"))
    assert _check(budget("latency", 0.005, on="ssh:pi"), *figures).value == 0.001
    assert _check(budget("latency", 0.005, on="host"), *figures).value == 0.009


@pytest.mark.parametrize(("level", "status"), [("error", "inconclusive"), ("warn", "warn")])
def test_a_figure_that_is_not_a_number_is_never_passed(level: str, status: str) -> None:
    check = _check(budget("accuracy", 0.9, level=level), figure("accuracy", math.nan))
    assert (check.status, check.reason) == (status, "the figure is not a number")


def test_a_figure_counts_only_in_the_unit_of_its_budget() -> None:
    figures = (figure("accuracy_drop", 0.5, unit=Unit.NUMBER), figure("accuracy_drop", 0.02, unit=Unit.RELATIVE))
    assert _check(budget("accuracy_drop", 0.05, unit=Unit.RELATIVE), *figures).value == 0.02
    assert _check(budget("accuracy_drop", 0.05), *figures).status == Status.INCONCLUSIVE


def test_the_checks_come_in_the_order_of_the_budgets() -> None:
    limits = [budget("size", 1), budget("latency", 1.0, on="host"), budget("accuracy", 0.5)]
    verdict = judge(limits, [figure("accuracy", 0.6), figure("size", 1)], lower_is_better=False)
    assert [check.budget for check in verdict.checks] == limits
    assert [check.status for check in verdict.checks] == ["pass", "inconclusive", "pass"]
    assert verdict.status == Status.INCONCLUSIVE


def test_nothing_to_gate_passes() -> None:
    assert judge([], [figure("size", 1)], lower_is_better=False).status == Status.PASS


@given(st.lists(st.sampled_from(Status), min_size=1))
def test_the_worst_outcome_is_the_verdict_in_any_order(statuses: list[Status]) -> None:
    order = (Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS)
    assert worst(statuses) == min(statuses, key=order.index)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 10**6))
def test_a_smaller_file_is_never_judged_worse(limit: int, size_bytes: int, less: int) -> None:
    order = (Status.PASS, Status.WARN, Status.FAIL)
    gate = budget("size", limit, headroom=0.1)
    larger = _check(gate, figure("size", size_bytes)).status
    smaller = _check(gate, figure("size", max(0, size_bytes - less))).status
    assert order.index(smaller) <= order.index(larger)
