"""An artifact against its baseline: what repeats exactly, what is noisy by intervals."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from making import figure

from edgebuild.actions.measuring import Ratio
from edgebuild.core.comparison import Change, Comparison, Interval
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.gating.comparing import Before, Turns, compare

CORE = "arm64:cortex-a72"


def _compared(
    before: tuple[Measurement, ...] = (),
    after: tuple[Measurement, ...] = (),
    turns: tuple[Turns, ...] = (),
    lacking: str = "",
) -> Comparison:
    return compare(Before("v1", "ab" * 32, before, lacking), after, turns)


def _changes(*given: Any, **more: Any) -> dict[tuple[str, str, str], Change]:
    found = _compared(*given, **more).changes
    return {(change.subject, change.where, change.at): change for change in found}


def _counted(value: float, **fields: Any) -> Measurement:
    spec = {"where": CORE, "machine": "QEMU 7.2", "kernels": "xnnpack", "mode": Mode.EMULATED, "versions": {"rt": "2"}}
    return figure("instructions", value, **{**spec, **fields})


def _load(*samples: float, **fields: Any) -> Measurement:
    return figure(
        "load", sorted(samples)[len(samples) // 2], where="host", kernels="xnnpack", samples=samples, **fields
    )


def _interval(before: tuple[float, ...], after: tuple[float, ...]) -> Interval:
    (change,) = _compared(after=(_load(*after),), turns=(Turns("host", (_load(*before),)),)).changes
    assert change.interval is not None
    return change.interval


@pytest.mark.parametrize("subject", ["size", "gzip_size", "activations", "arena", "flash", "npu_latency", "npu_sram"])
def test_what_repeats_is_compared_exactly(subject: str) -> None:
    (change,) = _compared((figure(subject, 1000),), (figure(subject, 1001),)).changes
    assert (change.baseline, change.value, change.ratio) == (1000, 1001, 1.001)
    assert (change.interval, change.test, change.at) == (None, "exact", "")


def test_figures_of_another_place_or_only_one_artifact_are_not_compared() -> None:
    before = (figure("arena", 100, where="tflm"), figure("flash", 10), figure("npu_sram", 7, where="ethos-u55-128"))
    after = (figure("arena", 100, where="other"), figure("size", 10), figure("npu_sram", 7, where="ethos-u65-256"))
    assert _compared(before, after).changes == ()


def test_a_figure_that_was_nothing_has_no_ratio_unless_it_still_is() -> None:
    before = (figure("arena", 0), figure("flash", 0))
    changes = _changes(before, (figure("arena", 10), figure("flash", 0)))
    assert list(changes) == [("flash", "file", "")]
    assert changes["flash", "file", ""].ratio == 1.0


def test_latencies_recorded_at_another_time_are_never_compared() -> None:
    recorded = (figure("latency", 1e-3, where="host", kernels="xnnpack"), _load(1e-3, 1e-3), figure("peak_memory", 5))
    assert _compared(recorded, recorded).changes == ()


def test_a_latency_is_compared_by_the_ratios_of_turns_at_its_place() -> None:
    statistics = {"median": 1e-3, "p90": 2e-3}
    before = figure("latency", 1e-3, where="host", kernels="xnnpack", statistics=statistics)
    after = figure("latency", 1.1e-3, where="host", kernels="xnnpack", statistics={"median": 1.1e-3, "p90": 2.4e-3})
    elsewhere = figure("latency", 9.0, where="ssh:pi", kernels="xnnpack")
    ratios = {
        "median": Ratio(ratio=1.09, interval=(1.07, 1.11), test="a test"),
        "p90": Ratio(ratio=1.2, interval=(1.0, 1.4), test="a test"),
    }
    changes = _changes((), (after, elsewhere), (Turns("host", (before,), ratios),))
    assert list(changes) == [("latency", "host", "median"), ("latency", "host", "p90")]
    found = changes["latency", "host", "p90"]
    assert (found.baseline, found.value, found.ratio, found.interval) == (2e-3, 2.4e-3, 1.2, (1.0, 1.4))
    assert found.test == "a test"


def test_kernels_are_compared_with_the_same_kernels_alone() -> None:
    before = figure("latency", 1e-3, where="host", kernels="builtin")
    after = figure("latency", 1e-3, where="host", kernels="xnnpack")
    ratios = {"median": Ratio(ratio=1.0, interval=(0.9, 1.1), test="a test")}
    assert _compared((), (after,), (Turns("host", (before,), ratios),)).changes == ()


@pytest.mark.parametrize(
    ("value", "ratio"), [(6_600_000, 1.0), (6_600_132, 1.0), (6_597_000, 1.0), (6_603_400, 6_603_400 / 6_600_000)]
)
def test_counted_instructions_are_equal_within_what_they_repeat(value: float, ratio: float) -> None:
    (change,) = _compared(after=(_counted(value),), turns=(Turns(CORE, (_counted(6_600_000),)),)).changes
    assert (change.ratio, change.interval) == (ratio, None)
    assert change.test == "exact, counts within 0.05 % are equal"
    assert change.value == value


def test_recorded_counts_serve_where_the_baselines_file_is_gone() -> None:
    (change,) = _compared((_counted(1_000_000),), (_counted(1_010_000),), lacking="the file is not there").changes
    assert change.ratio == 1.01


@pytest.mark.parametrize(
    "other",
    [
        {"machine": "QEMU 8.0"},
        {"versions": {"rt": "3"}},
        {"kernels": "builtin"},
        {"where": "arm64:cortex-a76"},
        {"settings": {"threads": 2}},
    ],
    ids=str,
)
def test_recorded_counts_of_another_core_emulator_or_runtime_are_not_compared(other: dict[str, Any]) -> None:
    assert _compared((_counted(1_000_000, **other),), (_counted(1_010_000),)).changes == ()


def test_counts_of_now_come_before_recorded_ones() -> None:
    recorded, now, after = _counted(1_000_000), _counted(2_000_000), _counted(3_000_000)
    (change,) = _compared((recorded,), (after,), (Turns(CORE, (now,)),)).changes
    assert change.ratio == 1.5


def test_each_statistic_of_counts_is_compared() -> None:
    fields = {"intervals": {"median": (1.0, 1.0), "p99": (1.0, 1.0)}}
    before = _counted(1e6, statistics={"median": 1e6, "p99": 2e6}, **fields)
    after = _counted(1e6, statistics={"median": 1e6, "p99": 3e6}, **fields)
    changes = _changes((before,), (after,))
    assert {at: change.ratio for (_, _, at), change in changes.items()} == {"median": 1.0, "p99": 1.5}


def test_load_times_of_processes_are_compared_by_welchs_interval() -> None:
    # Worked by hand: logarithms 0, 1, 2 and 1, 2, 6; means 1 and 3; variances 1 and 7; standard error sqrt(8/3);
    # degrees of freedom (8/3)^2 / ((1/3)^2/2 + (7/3)^2/2) = 2.56, so t is that of 2: 4.303.
    before, after = (tuple(map(math.exp, logs)) for logs in ((0, 1, 2), (1, 2, 6)))
    (change,) = _compared(after=(_load(*after),), turns=(Turns("host", (_load(*before),)),)).changes
    assert change.interval is not None
    half = 4.303 * math.sqrt(8 / 3)
    assert math.log(change.ratio) == pytest.approx(2)
    assert list(map(math.log, change.interval)) == pytest.approx([2 - half, 2 + half])
    assert (change.baseline, change.value) == (pytest.approx(math.e), pytest.approx(math.e**3))
    assert change.test == "Welch's t on logarithms of 3 and 3 processes"


def test_processes_that_do_not_vary_leave_no_doubt() -> None:
    assert _interval((2.0, 2.0), (3.0, 3.0)) == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize("samples", [(1.0,), (), (0.0, 1.0)])
def test_too_few_processes_are_not_compared(samples: tuple[float, ...]) -> None:
    before = figure("load", 1.0, where="host", kernels="xnnpack", samples=samples)
    assert _compared(after=(_load(1.0, 1.1),), turns=(Turns("host", (before,)),)).changes == ()


def test_welchs_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    rng = random.Random(0)
    tries, held = 2000, 0
    for _ in range(tries):
        before = tuple(math.exp(rng.gauss(0, 0.1)) for _ in range(3))
        after = tuple(1.2 * math.exp(rng.gauss(0, 0.3)) for _ in range(4))
        low, high = _interval(before, after)
        held += low <= 1.2 <= high
    assert 0.94 <= held / tries <= 0.99


def test_without_a_baseline_there_are_no_changes_and_the_reason_is_kept() -> None:
    found = compare(Before("v1", "", (figure("size", 1),), "it is foreign"), (figure("size", 1),))
    assert found == Comparison(baseline="v1", lacking="it is foreign")


def test_what_a_baseline_lacks_is_kept_beside_what_could_be_compared() -> None:
    found = _compared((figure("size", 10),), (figure("size", 20),), lacking="its file is not there")
    assert (len(found.changes), found.lacking, found.sha256) == (1, "its file is not there", "ab" * 32)
