"""Which plans the repair ladder tries, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from making import ACCURACY, DATA, MODEL, settings

from edgebuild import targets
from edgebuild.core.passes import (
    BiasCorrection,
    Calibrate,
    DType,
    Equalize,
    QuantizeAware,
    Ranges,
    Recurrent,
    Rounding,
    Scheme,
)
from edgebuild.core.plan import Plan
from edgebuild.layering import Layer
from edgebuild.plan import plan
from edgebuild.report import wording
from edgebuild.search import accuracy_recovery as ladder
from edgebuild.search.accuracy_recovery import Means
from edgebuild.search.strategy import Proposal


def _plan(name: str, **passes: Any) -> Plan:
    target = targets.load(name, ACCURACY, [Layer("test", {"passes": {"channels": "off", **passes}})]).target
    return plan(target, settings(build={"compress": True}), MODEL, DATA)


@pytest.fixture
def means() -> Means:
    return Means(True, targets.default_pass(Equalize), targets.default_pass(QuantizeAware))


def _kinds(attempt: Proposal) -> list[str]:
    return [wording.kind(step) for step in attempt.plan.passes]


def test_a_plain_plan_gets_ranges_then_equalization_and_bias_correction_then_rounding(means: Means) -> None:
    attempts = list(ladder.refinements(_plan("mcu", equalize="off", calibrate="off"), means))
    names = ["better ranges", "equalization and bias correction", "adaptive rounding"]
    assert [attempt.name for attempt in attempts] == names
    assert [_kinds(attempt) for attempt in attempts] == [
        ["calibrate", "quantize"],
        ["equalize", "calibrate", "quantize"],
        ["equalize", "calibrate", "quantize"],
    ]
    grids = [next(step for step in attempt.plan.passes if isinstance(step, Calibrate)) for attempt in attempts]
    assert [(grid.ranges, grid.rounding, grid.bias) for grid in grids] == [
        (Ranges.BEST, Rounding.NEAREST, BiasCorrection.OFF),
        (Ranges.BEST, Rounding.NEAREST, BiasCorrection.EMPIRICAL),
        (Ranges.BEST, Rounding.ADAPTIVE, BiasCorrection.EMPIRICAL),
    ]


def test_what_a_plan_does_already_is_no_attempt(means: Means) -> None:
    assert list(ladder.refinements(_plan("mcu"), means)) == []
    only_rounding = ladder.refinements(_plan("mcu", calibrate={"rounding": "nearest"}), means)
    assert [attempt.name for attempt in only_rounding] == ["adaptive rounding"]


@pytest.mark.parametrize("passes", [{"qat": {}}, {"quantize": {"scheme": "int16x8"}}])
def test_grids_that_are_learnt_or_fine_are_not_refined(passes: Any, means: Means) -> None:
    assert list(ladder.refinements(_plan("mcu", **passes), means)) == []


def test_the_worst_layers_go_to_float_twice_as_many_each_time() -> None:
    worst = [f"layer{number}" for number in range(9)]
    kept = [attempt.plan.quantize.float_layers for attempt in ladder.with_float_layers(_plan("arm64"), worst)]
    assert kept == [tuple(worst[:1]), tuple(worst[:2]), tuple(worst[:4])]
    asked = _plan("arm64", quantize={"float_layers": ["layer1", "other"]})
    kept = [attempt.plan.quantize.float_layers for attempt in ladder.with_float_layers(asked, worst[:4])]
    assert kept == [("layer1", "other", "layer0")]
    assert list(ladder.with_float_layers(_plan("arm64"), [])) == []
    assert list(ladder.with_float_layers(_plan("mcu"), worst)) == []
    assert list(ladder.with_float_layers(_plan("arm64", qat={}), worst)) == []


@pytest.mark.parametrize("asked", ["on", "off", "qat"])
def test_int16_takes_the_place_of_int8_where_the_target_has_it(asked: str, means: Means) -> None:
    passes = {"on": {}, "off": {"equalize": "off", "calibrate": "off"}, "qat": {"qat": {}}}[asked]
    (attempt,) = ladder.with_int16(_plan("mcu", **passes), means)
    assert _kinds(attempt) == ["equalize", "quantize"]
    assert attempt.plan.quantize.scheme == Scheme.INT16X8
    assert (attempt.plan.quantize.input, attempt.plan.quantize.output) == (DType.INT16, DType.INT16)
    assert list(ladder.with_int16(_plan("edgetpu"), means)) == []


def test_training_comes_in_place_of_chosen_grids_where_there_is_something_to_learn_from(means: Means) -> None:
    (attempt,) = ladder.trained(_plan("mcu"), means)
    assert _kinds(attempt) == ["equalize", "qat", "quantize"]
    assert not next(step for step in attempt.plan.passes if isinstance(step, Equalize)).fold
    (attempt,) = ladder.trained(_plan("arm64", quantize={"float_layers": ["stem"]}), means)
    assert attempt.plan.quantize.float_layers == ()
    assert list(ladder.trained(_plan("mcu"), means._replace(learns=False))) == []
    assert list(ladder.trained(_plan("mcu", qat={}), means)) == []


def test_int16_has_no_lstm_as_one_operator(means: Means) -> None:
    planned = _plan("mcu")
    assert planned.quantize.recurrent == Recurrent.FUSED
    (wide,) = ladder.with_int16(planned, means)
    assert (wide.plan.quantize.scheme, wide.plan.quantize.recurrent) == (Scheme.INT16X8, Recurrent.AUTO)
