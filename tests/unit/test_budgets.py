from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import ACCURACY, metric
from msgspec.structs import replace

from edgebuild import api
from edgebuild.cli import run
from edgebuild.core.budget import Budget, Level, Subject, Unit
from edgebuild.core.metric import Metric
from edgebuild.errors import ExitCode, UsageError
from edgebuild.gating import budgets
from edgebuild.layering import Layer, overlay

OWN = metric("scores:f1")


def _read(table: dict[str, Any], score: Metric = ACCURACY, origin: str = "edgebuild.toml") -> tuple[Budget, ...]:
    return budgets.read(overlay([Layer(origin, table)]), score)


def _option(text: str, score: Metric = ACCURACY) -> Budget:
    (budget,) = _read(dict(budgets.from_option(text)), score, "options")
    return budget


@pytest.mark.parametrize(
    ("name", "limit", "value", "unit"),
    [
        ("size", "60 KB", 60_000, Unit.BYTES),
        ("gzip_size", "1 MiB", 1_048_576, Unit.BYTES),
        ("accuracy", "90 %", 0.9, Unit.SHARE),
        ("accuracy_drop", "1 %", 0.01, Unit.SHARE),
        ("latency", "5 ms", 0.005, Unit.SECONDS),
        ("first_inference", "20 ms", 0.02, Unit.SECONDS),
        ("load", "3 ms", 0.003, Unit.SECONDS),
        ("instructions", "6.6 M", 6_600_000, Unit.COUNT),
        ("energy", "3 mJ", 0.003, Unit.JOULES),
        ("peak_memory", "3 MB", 3_000_000, Unit.BYTES),
        ("activations", "16 KiB", 16_384, Unit.BYTES),
        ("arena", "16 KiB", 16_384, Unit.BYTES),
        ("flash", "1 MB", 1_000_000, Unit.BYTES),
        ("npu_share", "90 %", 0.9, Unit.SHARE),
        ("npu_latency", "5 ms", 0.005, Unit.SECONDS),
        ("npu_sram", "16 KiB", 16_384, Unit.BYTES),
    ],
)
def test_each_subject_is_read_in_its_unit(name: str, limit: str, value: float, unit: Unit) -> None:
    (budget,) = _read({name: limit})
    assert (budget.subject, budget.unit) == (Subject(name), unit)
    assert budget.limit == pytest.approx(value)


def test_no_subject_is_left_out_of_these_tests() -> None:
    marks = test_each_subject_is_read_in_its_unit.pytestmark  # type: ignore[attr-defined]
    assert {row[0] for row in marks[0].args[1]} == set(Subject)


def test_a_text_is_a_hard_limit_without_headroom() -> None:
    (budget,) = _read({"size": "60 KB"})
    assert budget == Budget(
        subject=Subject.SIZE, limit=60_000, unit=Unit.BYTES, level=Level.ERROR, headroom=0.0, origin="edgebuild.toml"
    )


def test_a_table_says_level_headroom_and_place() -> None:
    (budget,) = _read({"latency": {"limit": "5 ms", "level": "warn", "headroom": "10 %", "on": "ssh:pi"}})
    assert (budget.level, budget.headroom, budget.on) == (Level.WARN, 0.1, "ssh:pi")


@pytest.mark.parametrize("name", ["latency", "peak_memory"])
def test_what_depends_on_a_place_holds_for_this_host_unless_said(name: str) -> None:
    limit = {"latency": "5 ms", "peak_memory": "5 MB"}[name]
    (budget,) = _read({name: limit})
    assert budget.on == "host"


@pytest.mark.parametrize("off", ["off", False])
def test_a_budget_that_is_off_is_left_out(off: object) -> None:
    assert [budget.subject for budget in _read({"size": off, "activations": "1 KB"})] == [Subject.ACTIVATIONS]


@pytest.mark.parametrize("zero", [0, 0.0, "0"])
def test_a_limit_of_zero_is_a_limit_and_not_off(zero: object) -> None:
    (budget,) = _read({"accuracy_drop": zero}, metric("mae"))
    assert budget.limit == 0


def test_a_zero_without_its_unit_is_refused_like_any_other_number() -> None:
    with pytest.raises(UsageError, match="has no unit"):
        _read({"size": 0})


def test_budgets_come_in_the_order_of_their_subjects() -> None:
    found = _read({"activations": "1 KB", "latency": "5 ms", "size": "1 KB", "accuracy": "90 %"})
    assert [budget.subject for budget in found] == ["size", "accuracy", "latency", "activations"]


def test_each_budget_knows_who_asked_for_it() -> None:
    merged = overlay(
        [
            Layer("targets/mcu.toml", {"size": "1 MB", "accuracy_drop": "1 %"}),
            Layer("edgebuild.toml", {"size": {"limit": "60 KB", "level": "warn"}}),
        ]
    )
    found = budgets.read(merged, ACCURACY)
    assert {budget.subject: budget.origin for budget in found} == {
        "size": "edgebuild.toml",
        "accuracy_drop": "targets/mcu.toml",
    }


@pytest.mark.parametrize(
    ("score", "limit", "unit", "value"),
    [
        (metric("top-k"), "95 %", Unit.SHARE, 0.95),
        (metric("auc"), "95 %", Unit.SHARE, 0.95),
        (metric("mse"), 0.25, Unit.NUMBER, 0.25),
        (metric("mae"), "1/4", Unit.NUMBER, 0.25),
        (OWN, "95 %", Unit.SHARE, 0.95),
        (OWN, 12.5, Unit.NUMBER, 12.5),
    ],
)
def test_a_score_is_limited_in_the_unit_of_its_metric(score: Metric, limit: object, unit: Unit, value: float) -> None:
    (budget,) = _read({"accuracy": limit}, score)
    assert (budget.unit, budget.limit) == (unit, pytest.approx(value))


@pytest.mark.parametrize(
    ("score", "limit", "unit"),
    [
        (metric("top-k"), "5 %", Unit.SHARE),
        (metric("mse"), "5 %", Unit.RELATIVE),
        (OWN, "5 %", Unit.RELATIVE),
        (metric("mse"), 0.05, Unit.NUMBER),
    ],
)
def test_a_drop_in_percent_is_relative_where_the_score_is_no_share(score: Metric, limit: object, unit: Unit) -> None:
    (budget,) = _read({"accuracy_drop": limit}, score)
    assert (budget.unit, budget.limit) == (unit, pytest.approx(0.05))


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ({"sise": "1 KB"}, 'sise: no such budget; did you mean "size"?'),
        ({"size": "60"}, "size: '60' has no unit"),
        ({"size": "5 ms"}, "size: '5 ms': 'ms' is no unit of a size"),
        ({"accuracy": 0.9}, "accuracy: 0.9 has no unit"),
        ({"size": {"level": "warn"}}, "size: has no limit"),
        ({"size": {"limit": "1 KB", "lewel": "warn"}}, 'lewel is not a key of a budget; did you mean "level"?'),
        ({"size": {"limit": "1 KB", "level": "loud"}}, "level 'loud' is unknown: write error or warn"),
        ({"size": {"limit": "1 KB", "headroom": 0.1}}, "0.1 has no unit"),
        ({"size": {"limit": "1 KB", "on": "host"}}, "`on` has no meaning for size"),
        ({"size": True}, "True is not a size"),
        ({"size": {"limit": "1 KB", "level": ["warn"]}}, "level ['warn'] is unknown"),
        ({"latency": {"limit": "5 ms", "on": "the lab"}}, "'the lab' is no place: write host"),
        ({"latency": {"limit": "5 ms", "on": "arm64:cortex-a72"}}, "an emulated core only counts"),
        ({"load": {"limit": "+5 %", "on": "arm64:cortex-a72"}}, "an emulated core only counts"),
        ({"instructions": {"limit": "6 M", "on": "host"}}, "instructions are counted on emulated cores alone"),
        ({"instructions": {"limit": "6 M", "on": "arm64:max"}}, "`max` computes wrong results"),
        ({"latency": {"limit": "5 ms", "at": "p95"}}, "at 'p95' is no statistic: write median, p90 or p99"),
        ({"load": {"limit": "5 ms", "at": "p90"}}, "`at` has no meaning for load: only latency and instructions"),
        ({"size": {"limit": "5 KB", "at": "median"}}, "`at` has no meaning for size"),
        ({"size": "5 % of baseline"}, "'5 % of baseline' is not a change: write it with its sign"),
        ({"size": "-100 %"}, "'-100 %' leaves nothing of the baseline"),
        ({"latency": "+5 ms of baseline"}, "is not a change"),
        ({"accuracy": "-1 % of baseline"}, "accuracy_drop limits what is lost"),
        ({"accuracy_drop": "+1 % of baseline"}, "a change already, against the float network"),
        ({"npu_share": "-1 % of baseline"}, "it is a share already"),
        ({"instructions": "6.6 Mi"}, "'Mi' is no unit of a count"),
        ({"energy": "3"}, "'3' has no unit: write an energy like 3 mJ"),
        ({"latency": ["5 ms", {"limit": "5"}]}, "'5' has no unit"),
    ],
)
def test_a_mistake_is_told_with_its_budget_and_its_origin(table: dict[str, Any], mistake: str) -> None:
    with pytest.raises(UsageError) as caught:
        _read(table)
    assert mistake in caught.value.why
    assert caught.value.why.endswith("(edgebuild.toml)")


def test_all_budgets_that_cannot_be_read_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        _read({"size": "60", "speed": "1 ms", "latency": "5 KB"})
    assert len(caught.value.why.splitlines()) == 3


def test_an_option_is_name_and_limit() -> None:
    assert (_option("size=60KB").limit, _option("accuracy_drop = 1 %").limit) == (60_000, 0.01)


def test_an_option_may_say_level_headroom_and_place() -> None:
    budget = _option("latency=5ms,on=ssh:pi, level=warn,headroom=10%")
    assert (budget.limit, budget.on, budget.level, budget.headroom) == (0.005, "ssh:pi", Level.WARN, 0.1)


def test_an_option_may_turn_a_budget_off() -> None:
    merged = overlay([Layer("profile", {"size": "1 KB"}), Layer("options", budgets.from_option("size=off"))])
    assert budgets.read(merged, ACCURACY) == ()


@pytest.mark.parametrize("profile", ["8 MB", {"limit": "8 MB"}])
def test_an_option_lies_over_either_form_of_a_profile(profile: object) -> None:
    merged = overlay([Layer("profile", {"size": profile}), Layer("options", budgets.from_option("size=60KB"))])
    (budget,) = budgets.read(merged, ACCURACY)
    assert (budget.limit, budget.origin) == (60_000, "options")


@pytest.mark.parametrize("text", ["size", "size=", "size=60KB,warn", "size= ,level=warn", ""])
def test_an_option_of_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"Write NAME=LIMIT\[,level=warn\]"):
        budgets.from_option(text)


@pytest.mark.parametrize("text", ["+5 %", "+5% of baseline", "+5.0 % of the baseline", " + 5 % "])
@pytest.mark.parametrize(
    "name", ["size", "gzip_size", "activations", "arena", "flash", "latency", "first_inference", "load", "instructions"]
)
def test_a_limit_with_a_sign_is_a_change_against_the_baseline(name: str, text: str) -> None:
    (budget,) = _read({name: text})
    assert (budget.of_baseline, budget.unit) == (True, Unit.RELATIVE)
    assert budget.limit == pytest.approx(0.05)


def test_a_figure_may_have_to_become_smaller() -> None:
    (budget,) = _read({"npu_latency": "-10 % of baseline"})
    assert (budget.of_baseline, budget.limit) == (True, pytest.approx(-0.1))


def test_a_drop_with_a_sign_is_still_against_the_float_network() -> None:
    (budget,) = _read({"accuracy_drop": "+1 %"})
    assert (budget.of_baseline, budget.unit, budget.limit) == (False, Unit.SHARE, 0.01)


def test_instructions_are_of_one_core_unless_another_is_named() -> None:
    budgets_ = _read({"instructions": ["6.6 M", {"limit": "3.4 M", "on": "arm64:cortex-a76"}]})
    assert [(budget.on, budget.limit) for budget in budgets_] == [
        ("arm64:cortex-a72", 6_600_000),
        ("arm64:cortex-a76", 3_400_000),
    ]


@pytest.mark.parametrize("name", ["accuracy", "accuracy_drop"])
def test_accuracy_is_of_the_targets_kernels_unless_a_place_is_named(name: str) -> None:
    (plain,) = _read({name: "90 %"})
    (placed,) = _read({name: {"limit": "90 %", "on": " arm64:cortex-a72"}})
    assert (plain.on, placed.on) == (None, "arm64:cortex-a72")


def test_a_statistic_is_the_median_unless_said() -> None:
    found = _read({"latency": ["5 ms", {"limit": "9 ms", "at": "p99"}]})
    assert [budget.at for budget in found] == ["median", "p99"]


def test_a_subject_may_have_several_limits_in_the_order_written() -> None:
    found = _read({"latency": [{"limit": "5 ms", "on": "ssh:pi@pi"}, "+5 %", {"limit": "9 ms", "level": "warn"}]})
    assert [(budget.on, budget.of_baseline, budget.level) for budget in found] == [
        ("ssh:pi@pi", False, "error"),
        ("host", True, "error"),
        ("host", False, "warn"),
    ]
    assert {budget.origin for budget in found} == {"edgebuild.toml"}


def test_a_list_takes_the_place_of_what_a_profile_says() -> None:
    merged = overlay(
        [Layer("profile", {"size": {"limit": "8 MB"}}), Layer("edgebuild.toml", {"size": ["1 MB", "+5 %"]})]
    )
    assert [budget.limit for budget in budgets.read(merged, ACCURACY)] == [1_000_000, 0.05]


def test_an_option_may_name_a_statistic_and_a_baseline() -> None:
    budget = _option("latency=+5%,at=p99,on=ssh:pi@raspberrypi")
    assert (budget.of_baseline, budget.at, budget.on) == (True, "p99", "ssh:pi@raspberrypi")
    assert budget.limit == pytest.approx(0.05)


def _options(*texts: str) -> list[Budget]:
    return list(_read(dict(budgets.from_options(texts)), origin="options"))


def test_options_that_differ_in_place_statistic_baseline_or_level_all_hold() -> None:
    found = _options(
        "latency=5ms", "latency=+5%", "latency=9ms,at=p99", "latency=3ms,on=ssh:pi", "latency=4ms,level=warn"
    )
    assert [round(budget.limit, 4) for budget in found] == [0.005, 0.05, 0.009, 0.003, 0.004]


def test_of_two_options_on_the_same_the_later_holds() -> None:
    assert [budget.limit for budget in _options("size=60KB", "gzip_size=40KB", "size=50KB")] == [50_000, 40_000]


def test_an_option_that_is_off_drops_those_before_it_and_none_after() -> None:
    assert [budget.limit for budget in _options("size=60KB", "size=off")] == []
    assert [budget.limit for budget in _options("size=60KB", "size=+1%", "size=off", "size=50KB")] == [50_000]


def test_one_option_alone_is_left_as_it_is() -> None:
    assert budgets.from_options(["size=60KB", "latency=off"]) == {"size": "60KB", "latency": "off"}


def test_a_minimum_with_a_sign_is_no_limit_that_anything_keeps() -> None:
    for name in ("accuracy", "npu_share", "energy"):
        with pytest.raises(UsageError, match="a budget cannot be read") as refused:
            _read({name: "+5 %"})
        assert "not limited against a baseline" in refused.value.why
    assert _read({"accuracy_drop": "+1 %"})[0].limit == pytest.approx(0.01)


def test_an_empty_list_drops_no_budget_in_silence() -> None:
    with pytest.raises(UsageError) as refused:
        _read({"size": []})
    assert 'write "off" to drop it' in refused.value.why


def test_a_place_that_nobody_named_is_known_to_be_assumed() -> None:
    assert [_option(text).on_is_assumed for text in ("latency=1s", "latency=1s,on=host", "size=1KB")] == [
        True,
        False,
        False,
    ]


OF_ERROR, OF_R2 = metric("mae"), metric("r2")
AUTO = metric("auto")


@pytest.mark.parametrize(
    ("text", "score", "said"),
    [
        ("accuracy=150%", ACCURACY, "up to 100 %"),
        ("accuracy=150%", AUTO, "up to 100 %"),
        ("accuracy=-3%", ACCURACY, "not limited against a baseline"),
        ("accuracy=0%", ACCURACY, "always kept"),
        ("accuracy=90%,headroom=20%", ACCURACY, "up to 11.11 %"),
        ("accuracy_drop=200%", ACCURACY, "more than 100 %"),
        ("accuracy_drop=100%", ACCURACY, "more than 100 %"),
        ("accuracy_drop=-1%", ACCURACY, "zero or more"),
        ("accuracy=-0.5", OF_ERROR, "never less than 0"),
        ("accuracy=1.5", OF_R2, "never more than 1"),
        ("npu_share=101%", ACCURACY, "up to 100 %"),
        ("npu_share=0%", ACCURACY, "over 0 %"),
        ("size=-1KB", ACCURACY, "zero or more"),
        ("size=0.2B", ACCURACY, "over 0"),
        ("size=60KB,headroom=100%", ACCURACY, "write a smaller one"),
        ("size=-100%", ACCURACY, "leaves nothing"),
        *((f"{subject}=0{unit}", ACCURACY, "over 0") for subject, unit in {
            "size": "B", "gzip_size": "B", "activations": "KiB", "arena": "KB", "flash": "B", "npu_sram": "B",
            "peak_memory": "MB", "latency": "s", "first_inference": "ms", "load": "ms", "npu_latency": "ms",
            "instructions": "", "energy": "J",
        }.items()),
    ],
)  # fmt: skip
def test_a_limit_that_always_or_never_holds_is_refused(text: str, score: Metric, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _option(text, score)
    assert said in caught.value.why
    assert text.partition("=")[0] in caught.value.why


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("accuracy=100%", ACCURACY),
        ("accuracy=80%,headroom=25%", ACCURACY),
        ("accuracy_drop=0%", ACCURACY),
        ("accuracy_drop=99%,headroom=50%", ACCURACY),
        ("npu_share=100%", ACCURACY),
        ("accuracy_drop=200%", OF_ERROR),  # an error may become three times what it was
        ("accuracy=-0.5", OF_R2),
        ("accuracy=150%", OWN),  # what a function returns has no bounds
        ("size=1B", ACCURACY),
        ("size=+300%", ACCURACY),
    ],
)
def test_a_limit_that_may_or_may_not_hold_is_none_of_those(text: str, score: Metric) -> None:
    assert _option(text, score)


def test_a_percentage_that_no_accuracy_loses_is_refused_as_soon_as_labels_choose_accuracy() -> None:
    (drop,) = given = _read({"accuracy_drop": "200 %"}, AUTO)
    with pytest.raises(UsageError) as caught:
        budgets.settled(given, ACCURACY)
    assert caught.value.why == (
        "accuracy_drop: no accuracy falls by more than 100 %: write a smaller limit, or off (edgebuild.toml)."
    )
    assert budgets.settled(given, OF_ERROR) == (replace(drop, unit=Unit.RELATIVE),)


def test_wherever_it_stands_such_a_limit_ends_a_build_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.keras").write_bytes(b"never read")
    np.savez("data.npz", x=np.zeros((4, 1)), y=np.zeros(4))
    Path("ours.toml").write_text('extends = "arm64"\n[budgets]\naccuracy = "150 %"\n')
    with pytest.raises(UsageError, match="cannot be read") as caught:
        api.build("net.keras", target="arm64", data="data.npz", budgets={"size": "0 B"})
    assert "over 0" in caught.value.why
    words = ["net.keras", "-d", "data.npz"]
    assert run([*words, "-t", "ours.toml"]) == ExitCode.USAGE
    assert "accuracy: '150 %' cannot be a limit" in (said := capsys.readouterr().err)
    assert "ours.toml" in said
    Path("edgebuild.toml").write_text('[budgets]\nlatency = {limit = "0 ms", on = "host"}\n')
    assert run([*words, "-t", "arm64"]) == ExitCode.USAGE
    assert "latency: '0 ms' cannot be a limit" in capsys.readouterr().err
    Path("edgebuild.toml").write_text('[targets.mcu.memory]\nram = "0 B"\n')
    assert run([*words, "-t", "mcu", "--dry-run"]) == ExitCode.USAGE
    assert "memory.ram" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["accuracy=0.9", "accuracy=90"])
def test_a_score_without_a_unit_is_refused_with_the_percentage_that_is_meant(written: str) -> None:
    with pytest.raises(UsageError) as caught:
        budgets.settled([_option(written, AUTO)], ACCURACY)
    assert caught.value.remedy == 'Write it in %: accuracy = "90 %".'
    assert budgets.settled([_option("accuracy=90 %", AUTO)], ACCURACY)[0].limit == pytest.approx(0.9)
