"""`[runtime] name`: the kernels that figures are scored on follow from it, and whose RAM an arena is is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from making import ACCURACY, budget, plan

from edgebuild import targets
from edgebuild.core.budget import Subject
from edgebuild.core.device import Arena, DeviceReport
from edgebuild.core.target import Interpreter, Kernels, Runtime
from edgebuild.core.verdict import Status
from edgebuild.errors import UsageError
from edgebuild.gating.gate import judge
from edgebuild.gating.judgeable import Of, require
from edgebuild.layering import Layer
from edgebuild.pipeline import device_figures

MICRO = [name for name in Interpreter if name.is_micro]


def _loaded(base: str, **runtime: str) -> targets.ResolvedTarget:
    return targets.load(base, ACCURACY, [Layer("board.toml", {"runtime": runtime})])


@pytest.mark.parametrize(
    ("base", "name", "kernels"),
    [
        ("mcu", "tflm", "reference"),
        ("mcu", "cmsis-nn", "reference"),
        ("mcu", "x-cube-ai", "xnnpack"),
        ("stm32f746g-disco", "plumerai", "xnnpack"),
        ("mcu", "litert", "xnnpack"),
        ("edgetpu", "litert", "reference"),  # as that profile says, whose runtime this is
        ("edgetpu", "x-cube-ai", "xnnpack"),
    ],
)
def test_the_name_of_a_runtime_chooses_its_kernels(base: str, name: str, kernels: str) -> None:
    resolved = _loaded(base, name=name)
    assert resolved.target.runtime.kernels == kernels
    if (base, name) == ("mcu", "x-cube-ai"):
        assert resolved.layered.origin_of("runtime.kernels") == "runtime x-cube-ai"


def test_kernels_that_are_set_win_and_names_that_are_not_known_are_listed() -> None:
    assert _loaded("mcu", name="x-cube-ai", kernels="builtin").target.runtime.kernels == Kernels.BUILTIN
    with pytest.raises(UsageError) as caught:
        _loaded("mcu", name="x-cube")
    assert "x-cube" in f"{caught.value.what} {caught.value.why}"
    assert "x-cube-ai" in f"{caught.value.what} {caught.value.why} {caught.value.remedy}"
    assert "1 mistake" in caught.value.what, "the kernels that the name would have brought are not missing as well"


def test_a_profile_in_a_file_may_name_a_runtime(tmp_path: Path) -> None:
    board = tmp_path / "nucleo.toml"
    board.write_text('description = "ours"\nextends = "stm32f746g-disco"\n\n[runtime]\nname = "x-cube-ai"\n')
    target = targets.load(str(board), ACCURACY).target
    assert target.runtime == Runtime(name=Interpreter.X_CUBE_AI, kernels=Kernels.XNNPACK)
    assert {found.subject for found in target.budgets} >= {Subject.ARENA, Subject.FLASH}


@pytest.mark.parametrize("name", MICRO)
def test_every_runtime_for_microcontrollers_is_judged_as_one(name: Interpreter) -> None:
    of = Of.plan(plan(runtime=Runtime(name=name, kernels=name.known.kernels)), has_baseline=False)
    assert of.has_costs_of_its_own
    require([budget("arena", 1000.0), budget("flash", 1000.0)], of)
    with pytest.raises(UsageError, match="the latency of the TFLite interpreter on this host is not its own"):
        require([budget("latency", 1.0, on="host", on_is_assumed=True)], of)


def _arena_of(name: Interpreter, limit: float) -> Any:
    arena = Arena(required_bytes=27_000, recorded_bytes=27_000, head_bytes=20_000, tail_bytes=7_000, parts=())
    runtime = Runtime(name=name, kernels=Kernels.REFERENCE)
    figures = device_figures.of_device(DeviceReport(arena=arena), None, {}, runtime)
    (check,) = judge([budget("arena", limit)], figures, lower_is_better=False).checks
    return check


@pytest.mark.parametrize(
    ("name", "limit", "status"),
    [
        (Interpreter.TFLM, 27_000, Status.PASS),
        (Interpreter.TFLM, 26_000, Status.FAIL),
        (Interpreter.CMSIS_NN, 26_000, Status.FAIL),
        (Interpreter.X_CUBE_AI, 27_000, Status.PASS),
        (Interpreter.X_CUBE_AI, 26_000, Status.INCONCLUSIVE),  # 10,000 to 27,000 bytes
        (Interpreter.X_CUBE_AI, 10_000, Status.INCONCLUSIVE),
        (Interpreter.X_CUBE_AI, 9_999, Status.FAIL),
        (Interpreter.PLUMERAI, 27_000, Status.PASS),
        (Interpreter.PLUMERAI, 1, Status.INCONCLUSIVE),
    ],
)
def test_a_budget_on_the_arena_is_judged_by_what_the_targets_own_ram_may_be(
    name: Interpreter, limit: float, status: Status
) -> None:
    check = _arena_of(name, limit)
    assert check.status == status
    assert (check.basis == "measured") == (name == Interpreter.TFLM)
    if name == Interpreter.X_CUBE_AI:
        assert check.basis == "measured, TensorFlow Lite Micro planner; X-CUBE-AI's own RAM is up to 2.7 times less"
