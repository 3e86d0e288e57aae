from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, strategies as st
from making import WARN, budget, figure

from edgebuild.core.budget import Budget, Subject, Unit
from edgebuild.core.comparison import Change, Comparison
from edgebuild.core.device import DeviceReport, EdgeTpu, Mapping, ParameterCache, Place
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.target import Interpreter, Kernels, Runtime
from edgebuild.core.verdict import Check, Status
from edgebuild.gating.gate import judge, worst
from edgebuild.pipeline import device_figures


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


def _arena(least: float, most: float) -> Measurement:
    return figure("arena", most, between=(least, most))


@pytest.mark.parametrize(
    ("limit", "status"), [(85_264, "pass"), (85_263, "inconclusive"), (81_000, "inconclusive"), (80_885, "fail")]
)
def test_an_arena_measured_with_wider_pointers_is_judged_by_what_the_device_may_need(limit: int, status: str) -> None:
    check = _check(budget("arena", limit), _arena(80_886, 85_264))
    assert (check.status, check.value) == (status, 85_264)
    if status == "inconclusive":
        assert "32-bit pointers" in check.reason
        # What it says to allow is kept.
        (allowed,) = re.findall(r"arena=(\d+)B", check.reason)
        assert _check(budget("arena", int(allowed)), _arena(80_886, 85_264)).status == Status.PASS


def test_flash_says_whether_the_runtime_is_in_it() -> None:
    limit = budget("flash", 100_000)
    alone, whole = (_check(limit, _flash(50_000, code)) for code in (None, 60_000))
    assert (alone.status, alone.value, alone.basis) == (Status.PASS, 50_000, "estimated, model only")
    assert (whole.status, whole.value, whole.basis) == (Status.FAIL, 110_000, "estimated")


def _flash(data_bytes: int, code_bytes: int | None) -> Measurement:
    runtime = Runtime(name=Interpreter.TFLM, kernels=Kernels.REFERENCE, code=code_bytes)
    (found,) = device_figures.of_device(DeviceReport(), data_bytes, {}, runtime)
    return found


def test_a_share_of_operators_says_of_which() -> None:
    places = (Place(operator="CONV_2D", count=3, is_mapped=True), Place(operator="SOFTMAX", count=1, is_mapped=False))
    mapping = Mapping(accelerator="edgetpu", mode=Mode.MEASURED, source="its log", places=places, partitions=1)
    cache = ParameterCache(mode=Mode.MEASURED, cached_bytes=0, streamed_bytes=0)
    report = DeviceReport(edgetpu=EdgeTpu(mapping=mapping, cache=cache))
    runtime = Runtime(name=Interpreter.LITERT, kernels=Kernels.REFERENCE)
    check = _check(budget("npu_share", 0.75), *device_figures.of_device(report, None, {}, runtime))
    assert (check.status, check.value, check.basis) == (Status.PASS, 0.75, "measured, file's 4 operators")


def test_an_old_arena_is_judged_by_its_value() -> None:
    assert _check(budget("arena", 85_263), figure("arena", 85_264)).status == Status.FAIL


def test_a_reason_shows_sizes_in_the_unit_of_the_limit() -> None:
    """Before, "80.9 KB to 85.0 KB lies around the limit of 81.9 KB"."""
    limit = budget("arena", 80 * 1024, binary=True)
    reason = _check(limit, _arena(79 * 1024, 83 * 1024)).reason
    assert reason.startswith("79 KiB to 83 KiB lies around the limit of 80 KiB")
    assert "KB" not in _check(limit, _arena(81 * 1024, 83 * 1024)).reason


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


def _latency(low: float, value: float, high: float, **fields: Any) -> Measurement:
    intervals = {"median": (low, high)}
    return figure("latency", value, where="host", **{"intervals": intervals, "statistics": {"median": value}, **fields})


LIMIT = budget("latency", 1.05e-3, on="host")


@pytest.mark.parametrize(
    ("interval", "status"),
    [
        ((1.00e-3, 1.04e-3), "pass"),
        ((1.00e-3, 1.05e-3), "pass"),
        ((1.02e-3, 1.09e-3), "inconclusive"),
        ((1.05e-3, 1.09e-3), "inconclusive"),
        ((1.06e-3, 1.09e-3), "fail"),
    ],
)
@pytest.mark.parametrize("value", ["low", "middle", "high"])
def test_a_noisy_figure_is_judged_by_its_interval_and_not_by_its_value(
    interval: tuple[float, float], status: str, value: str
) -> None:
    low, high = interval
    chosen = {"low": low, "middle": (low + high) / 2, "high": high}[value]
    assert _check(LIMIT, _latency(low, chosen, high)).status == status


def test_an_inconclusive_check_says_why_and_what_to_do_and_claims_no_headroom() -> None:
    check = _check(LIMIT, _latency(1.02e-3, 1.04e-3, 1.09e-3, conditions=("the core was throttled",)))
    assert (check.value, check.headroom) == (1.04e-3, None)
    assert check.reason == (
        "1.02 ms to 1.09 ms lies around the limit of 1.05 ms: give it more time ([bench] time) or a quieter machine; "
        "the core was throttled"
    )


def test_what_cannot_be_told_of_a_soft_limit_is_a_warning_with_the_same_reason() -> None:
    check = _check(budget("latency", 1.05e-3, on="host", level=WARN), _latency(1.02e-3, 1.04e-3, 1.09e-3))
    assert check.status == Status.WARN
    assert "lies around the limit" in check.reason


def test_a_broken_limit_tells_the_interval() -> None:
    check = _check(LIMIT, _latency(1.06e-3, 1.07e-3, 1.09e-3))
    assert check.reason == "over the limit: 1.06 ms to 1.09 ms"
    assert check.headroom == pytest.approx(-0.02e-3)


@pytest.mark.parametrize(
    ("interval", "status"), [((0.91, 0.93), "pass"), ((0.88, 0.93), "inconclusive"), ((0.8, 0.89), "fail")]
)
def test_the_interval_of_a_minimum_is_judged_from_the_other_side(interval: tuple[float, float], status: str) -> None:
    found = figure("accuracy", sum(interval) / 2, intervals={"median": interval})
    assert _check(budget("accuracy", 0.9), found).status == status


@pytest.mark.parametrize(
    ("at", "status", "value"), [("median", "pass", 1e-3), ("p90", "inconclusive", 2e-3), ("p99", "fail", 3e-3)]
)
def test_a_limit_holds_for_the_statistic_that_it_names(at: str, status: str, value: float) -> None:
    found = figure(
        "latency",
        1e-3,
        where="host",
        statistics={"median": 1e-3, "p90": 2e-3, "p99": 3e-3},
        intervals={"median": (0.9e-3, 1.1e-3), "p90": (1.8e-3, 2.2e-3), "p99": (2.7e-3, 3.3e-3)},
    )
    check = _check(budget("latency", 2.1e-3, on="host", at=at), found)
    assert (check.status, check.value) == (status, value)


def test_an_old_figure_without_intervals_is_judged_by_its_value() -> None:
    old = figure("latency", 1.04e-3, where="host", statistics={"median": 1.04e-3, "p90": 1.2e-3})
    assert _check(LIMIT, old).status == Status.PASS
    assert _check(budget("latency", 1.1e-3, on="host", at="p90"), old).status == Status.FAIL


def test_an_old_figure_without_the_statistic_is_inconclusive() -> None:
    old = figure("latency", 1e-3, where="host", statistics={"median": 1e-3, "p90": 1.2e-3})
    check = _check(budget("latency", 5e-3, on="host", at="p99"), old)
    assert (check.status, check.reason) == (
        "inconclusive",
        "the figure for latency on host has no p99: measure again",
    )


@pytest.mark.parametrize("at", ["median", "p99"])
def test_a_sampled_figure_without_an_interval_is_inconclusive(at: str) -> None:
    statistics, intervals = {"median": 1e-3, "p99": 1e-3}, {"p90": (1e-3, 1e-3)}
    found = figure("latency", 1e-3, where="host", blocks=(5,), statistics=statistics, intervals=intervals)
    check = _check(budget("latency", 5e-3, on="host", at=at), found)
    assert check.status == Status.INCONCLUSIVE
    assert check.reason.startswith("too few samples for an interval of the")


def test_counted_instructions_are_judged_by_their_value() -> None:
    counted = figure(
        "instructions",
        6_600_000,
        where="arm64:cortex-a72",
        mode=Mode.EMULATED,
        blocks=(3, 3),
        intervals={"median": (6_599_900, 6_600_100)},
    )
    assert _check(budget("instructions", 6_600_000, on="arm64:cortex-a72"), counted).status == Status.PASS
    assert _check(budget("instructions", 6_599_999, on="arm64:cortex-a72"), counted).status == Status.FAIL


def test_a_missing_figure_is_told_by_subject_and_place() -> None:
    lacking = {"latency on ssh:pi": "ssh: connection refused", "energy": "the device is silent"}
    checks = judge(
        [budget("latency", 1.0, on="ssh:pi"), budget("latency", 1.0, on="adb"), budget("energy", 1.0, on="adb")],
        [],
        lower_is_better=False,
        lacking=lacking,
    ).checks
    assert [check.reason for check in checks] == [
        "no figure for latency on ssh:pi: ssh: connection refused",
        "no figure for latency on adb",
        "no figure for energy on adb: the device is silent",
    ]


def _grown(subject: str, limit: float, **fields: Any) -> Budget:
    return budget(subject, limit, unit=Unit.RELATIVE, of_baseline=True, **fields)


def _change(subject: str, ratio: float, **fields: Any) -> Change:
    spec = {"unit": Subject(subject).unit, "where": "file", "baseline": 100.0, "value": 100.0 * ratio}
    return Change(subject=Subject(subject), ratio=ratio, **{**spec, **fields})


def _compared(limit: Budget, *changes: Change, figures: tuple[Measurement, ...] = (), **fields: Any) -> Check:
    found = Comparison(**{"baseline": "v1", "sha256": "ab", "changes": changes, **fields})
    (check,) = judge([limit], figures, lower_is_better=False, comparison=found).checks
    return check


@pytest.mark.parametrize(
    ("limit", "ratio", "status"),
    [
        (0.05, 1.05, "pass"),
        (0.05, 105 / 100, "pass"),
        (0.05, 1.0501, "fail"),
        (0.0, 1.0, "pass"),
        (0.0, 1.00001, "fail"),
        (-0.1, 0.9, "pass"),
        (-0.1, 0.91, "fail"),
    ],
)
def test_an_exact_change_is_judged_exactly(limit: float, ratio: float, status: str) -> None:
    check = _compared(_grown("size", limit), _change("size", ratio))
    assert check.status == status
    assert check.value == pytest.approx(ratio - 1)
    assert check.headroom == pytest.approx(limit - (ratio - 1))


@pytest.mark.parametrize(
    ("interval", "status"), [((1.0, 1.04), "pass"), ((1.01, 1.09), "inconclusive"), ((1.06, 1.09), "fail")]
)
def test_a_measured_change_is_judged_by_its_interval(interval: tuple[float, float], status: str) -> None:
    change = _change("latency", sum(interval) / 2, where="host", at="median", interval=interval, test="a test")
    assert _compared(_grown("latency", 0.05, on="host"), change).status == status


def test_an_inconclusive_change_says_between_what_it_lies_and_what_disturbed_it() -> None:
    change = _change("latency", 1.05, where="host", at="median", interval=(1.012, 1.089), test="a test")
    figures = (figure("latency", 1e-3, where="host", conditions=("a neighbour was busy",)),)
    check = _compared(_grown("latency", 0.05, on="host"), change, figures=figures)
    assert (check.value, check.headroom) == (pytest.approx(0.05), None)
    assert check.reason == (
        "+1.2 % to +8.9 % lies around the limit of +5.0 %: give it more time ([bench] time) or a quieter machine; "
        "a neighbour was busy"
    )


def test_a_change_counts_only_for_its_place_and_statistic() -> None:
    changes = (
        _change("latency", 1.5, where="ssh:pi", at="median", interval=(1.4, 1.6)),
        _change("latency", 1.4, where="host", at="p90", interval=(1.3, 1.5)),
        _change("latency", 1.0, where="host", at="median", interval=(0.99, 1.01)),
    )
    assert _compared(_grown("latency", 0.05, on="host"), *changes).status == Status.PASS
    assert _compared(_grown("latency", 0.05, on="host", at="p90"), *changes).status == Status.FAIL
    assert _compared(_grown("latency", 0.05, on="ssh:pi"), *changes).status == Status.FAIL


def test_a_limit_against_a_baseline_that_nobody_named_is_inconclusive() -> None:
    (check,) = judge([_grown("size", 0.05)], [figure("size", 1)], lower_is_better=False).checks
    assert (check.status, check.value, check.headroom) == (Status.INCONCLUSIVE, None, None)
    assert check.reason == "no comparison: no baseline was named (--against, or [bench] baseline)"


def test_a_baseline_that_was_named_and_cannot_be_used_stands_in_the_verdict() -> None:
    found = Comparison(baseline="v9", lacking="there is no v9")
    limits = [budget("size", 10), _grown("size", 0.05)]
    warned = judge(limits, [figure("size", 1)], lower_is_better=False, comparison=found)
    assert [check.status for check in warned.checks] == ["pass", "warn"]
    (named,) = warned.requirements
    assert (named.what, named.status, named.reason) == ("baseline v9", "warn", "no comparison: there is no v9")
    assert judge(limits[:1], [figure("size", 1)], lower_is_better=False, comparison=found).status == Status.WARN


@pytest.mark.parametrize("found", [None, Comparison(baseline="v9", lacking="there is no v9")], ids=["none", "unusable"])
def test_a_baseline_that_is_required_is_never_done_without(found: Comparison | None) -> None:
    for limits in ([], [budget("size", 10)], [_grown("size", 0.05)]):
        verdict = judge(limits, [figure("size", 1)], lower_is_better=False, comparison=found, baseline_required=True)
        assert verdict.status == Status.INCONCLUSIVE
        assert [required.status for required in verdict.requirements] == ["inconclusive"]


def test_a_figure_that_a_required_baseline_lacks_is_inconclusive() -> None:
    found = Comparison(baseline="v1", sha256="ab", lacking="kws.tflite beside it is not there")
    figures = [figure("latency", 1e-3, where="host")]
    limits = [_grown("latency", 0.05, on="host")]
    for is_required, status in ((False, "warn"), (True, "inconclusive")):
        verdict = judge(limits, figures, lower_is_better=False, comparison=found, baseline_required=is_required)
        assert [check.status for check in verdict.checks] == [status]


@pytest.mark.parametrize(
    ("subject", "where", "mode", "basis"),
    [
        ("size", "file", "measured", "measured"),
        ("activations", "file", "estimated", "estimated"),
        ("accuracy", "host", "measured", "measured"),
        ("latency", "host", "measured", "measured, TFLite interpreter on this host"),
        ("load", "host:xnnpack=off", "measured", "measured, TFLite interpreter on this host"),
        ("latency", "tflm", "measured", "measured, TensorFlow Lite Micro on this host"),
        ("latency", "ssh:pi", "measured", "measured on ssh:pi"),
        ("instructions", "arm64:cortex-a72", "emulated", "emulated on arm64:cortex-a72"),
    ],
)
def test_a_check_says_what_its_figure_is(subject: str, where: str, mode: str, basis: str) -> None:
    on = where if Subject(subject) not in ("size", "activations", "accuracy") else None
    check = _check(budget(subject, 10, on=on), figure(subject, 1, where=where, mode=Mode(mode)))
    assert check.basis == basis


def test_an_unusable_baseline_is_no_failure_and_its_reason_is_told() -> None:
    check = _compared(
        _grown("size", 0.05), sha256="", lacking="it is of mcu, not of arm64", figures=(figure("size", 1),)
    )
    assert (check.status, check.reason) == (Status.WARN, "no comparison: it is of mcu, not of arm64")


def test_a_baseline_that_lacks_one_figure_only_warns_of_that() -> None:
    limits = [_grown("size", 0.05), _grown("latency", 0.05, on="host")]
    comparison = Comparison(
        baseline="v1", sha256="ab", changes=(_change("size", 1.1),), lacking="kws.tflite beside it is not there"
    )
    figures = (figure("size", 110), figure("latency", 1e-3, where="host"))
    verdict = judge(limits, figures, lower_is_better=False, comparison=comparison)
    assert [check.status for check in verdict.checks] == ["fail", "warn"]
    assert verdict.checks[1].reason == "no comparison: kws.tflite beside it is not there"


@pytest.mark.parametrize(("level", "status"), [("error", "inconclusive"), ("warn", "warn")])
def test_a_change_that_could_not_be_measured_here_is_never_passed(level: str, status: str) -> None:
    limit = _grown("latency", 0.05, on="ssh:pi", level=level)
    check = _compared(limit, figures=(figure("latency", 1e-3, where="host"),), lacking="")
    assert (check.status, check.reason) == (status, "no figure for latency on ssh:pi")


def test_a_change_without_samples_of_both_is_inconclusive() -> None:
    check = _compared(_grown("load", 0.05, on="host"), figures=(figure("load", 1e-3, where="host"),))
    assert check.status == Status.INCONCLUSIVE
    assert check.reason.startswith("load on host was not compared with the baseline's")


@given(
    st.floats(0.5, 2), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(-0.4, 0.9), st.sampled_from(["error", "warn"])
)
def test_no_interval_that_reaches_over_its_limit_passes(
    ratio: float, below: float, above: float, limit: float, level: str
) -> None:
    interval = (ratio * (1 - below), ratio * (1 + above))
    change = _change("latency", ratio, where="host", at="median", interval=interval)
    check = _compared(_grown("latency", limit, on="host", level=level), change)
    if interval[1] - 1 > limit + 1e-6:
        assert check.status != Status.PASS
    if interval[0] - 1 > limit + 1e-6:
        assert check.status == (Status.FAIL if level == "error" else Status.WARN)
