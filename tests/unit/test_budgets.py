from __future__ import annotations

from typing import Any

import pytest
from making import ACCURACY, metric

from edgebuild import budgets
from edgebuild.core.budget import Budget, Level, Subject, Unit
from edgebuild.core.settings import Metric
from edgebuild.errors import UsageError
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
