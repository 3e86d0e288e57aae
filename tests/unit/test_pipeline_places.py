"""Where a build measures: what is asked of which device, what is missing of one that is not there, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_answers import Bench
from pipelines import PLAIN, built, installed, kinds, only, planned, said, statuses

from edgebuild.core.budget import Subject
from edgebuild.core.measurement import Mode
from edgebuild.errors import StepError, UnavailableError, UsageError
from edgebuild.execution.fake import Fake
from edgebuild.runtimes.arm64 import emulator

AWAY = UnavailableError("pi@two is not there", "no route to host", "Switch it on.")


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    monkeypatch.setattr(emulator, "state", lambda: "an emulation")


def _on(*places: str) -> dict[str, Any]:
    return {**PLAIN, "bench": {"on": list(places)}}


def _measured(fake: Fake) -> list[str]:
    return [asked.settings.place.label for asked in fake.asked if asked.kind == "measure"]


@pytest.mark.parametrize("target", ["mcu", "edgetpu", "ethos-u55-128", "raspberry-pi-4", "arduino-nano-33-ble"])
def test_no_time_is_taken_on_this_host_for_a_target_with_costs_of_its_own(target: str, tmp_path: Path) -> None:
    outcomes, fake = built(tmp_path, Bench(), planned(target, **PLAIN))
    assert _measured(fake) == []
    assert Subject.LATENCY not in {figure.subject for figure in only(outcomes).measurements}


def test_what_stands_for_this_host_is_timed_where_it_is_asked_for_by_setting_or_by_budget(tmp_path: Path) -> None:
    asked = planned("mcu", **_on("host"))
    outcomes, fake = built(tmp_path / "setting", Bench(), asked)
    assert _measured(fake) == ["host"]
    assert [f.where for f in only(outcomes).measurements if f.subject == Subject.LATENCY] == ["host"]
    budget = {"latency": {"limit": "5 ms", "on": "host"}}
    outcomes, fake = built(tmp_path / "budget", Bench(), planned("mcu", budgets=budget, **PLAIN))
    assert _measured(fake) == ["host"]
    assert statuses(only(outcomes))["latency"] == "pass"


def test_a_profile_of_all_devices_that_run_litert_is_timed_on_this_host(tmp_path: Path) -> None:
    _, fake = built(tmp_path, Bench(), planned(**PLAIN))
    assert _measured(fake) == ["host"]


def test_each_place_is_measured_once_and_one_that_is_away_leaves_the_others_alone(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors |= {"measure ssh:pi@two": AWAY, "score-at ssh:pi@two": AWAY}
    bench.costs |= {("net int8", "ssh:pi@one"): 0.002, ("net int8", "host"): 0.001}
    limits = [{"limit": "5 ms", "on": place} for place in ("ssh:pi@one", "ssh:pi@two")]
    plan = planned(budgets={"latency": limits}, **_on("auto", "ssh:pi@one"))
    outcomes, fake = built(tmp_path, bench, plan)
    manifest = only(outcomes)
    assert _measured(fake) == ["host", "ssh:pi@one", "ssh:pi@two"]
    latencies = {f.where: f.value for f in manifest.measurements if f.subject == Subject.LATENCY}
    assert latencies == {"host": 0.001, "ssh:pi@one": 0.002}
    judged = {check.budget.on: str(check.status) for check in manifest.verdict.checks if check.budget.on}
    assert judged == {"ssh:pi@one": "pass", "ssh:pi@two": "inconclusive"}
    assert manifest.lacking["latency on ssh:pi@two"] == "pi@two is not there. no route to host. Switch it on."
    assert said(manifest, "nothing was measured").startswith("arm64: nothing was measured on ssh:pi@two: pi@two is not")
    assert said(manifest, "nothing was scored").endswith("on ssh:pi@two: pi@two is not there")


def test_an_artifact_is_scored_on_a_device_and_compared_with_the_same_samples_here(tmp_path: Path) -> None:
    bench = Bench()
    outcomes, fake = built(tmp_path, bench, planned(**_on("ssh:pi@one")))
    manifest = only(outcomes)
    asked = kinds(fake)
    assert asked.index("score-at") < asked.index("outputs-at") < asked.index("outputs") < asked.index("parity")
    scores = [(f.where, f.mode) for f in manifest.measurements if f.subject == Subject.ACCURACY]
    assert ("ssh:pi@one", Mode.MEASURED) in scores
    assert [parity.kernels for parity in manifest.device.places] == [("xnnpack", "ssh:pi@one")]


def test_what_this_host_cannot_run_of_the_samples_is_a_note_and_the_device_keeps_its_score(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["outputs"] = StepError("it crashed here")
    outcomes, _ = built(tmp_path, bench, planned(**_on("ssh:pi@one")))
    manifest = only(outcomes)
    assert manifest.device.places == ()
    assert "outputs here and on ssh:pi@one were not compared: it crashed here" in said(manifest, "here and on")
    assert "ssh:pi@one" in {f.where for f in manifest.measurements if f.subject == Subject.ACCURACY}


def test_an_emulated_core_has_instructions_and_an_emulated_score_but_no_time(tmp_path: Path) -> None:
    bench = Bench()
    bench.costs["net int8", "arm64:cortex-a72"] = 123_456
    outcomes, _ = built(tmp_path, bench, planned(**_on("arm64:cortex-a72")))
    there = [f for f in only(outcomes).measurements if f.where == "arm64:cortex-a72"]
    assert {(f.subject, f.mode) for f in there} == {
        (Subject.INSTRUCTIONS, Mode.EMULATED),
        (Subject.ACCURACY, Mode.EMULATED),
        (Subject.ACCURACY_DROP, Mode.EMULATED),
    }
    assert next(f.value for f in there if f.subject == Subject.INSTRUCTIONS) == 123_456


def test_an_emulation_that_is_not_there_lacks_instructions_alone(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors |= dict.fromkeys(("measure arm64:cortex-a72", "score-at arm64:cortex-a72"), AWAY)
    outcomes, _ = built(tmp_path, bench, planned(**_on("arm64:cortex-a72")))
    lacking = {key for key in only(outcomes).lacking if "cortex-a72" in key}
    assert lacking == {f"{subject} on arm64:cortex-a72" for subject in ("instructions", "accuracy", "accuracy_drop")}


def test_a_refusal_ends_a_build_but_not_where_this_host_stands_in_for_another_runtime(tmp_path: Path) -> None:
    bench = Bench()
    bench.errors["measure host"] = StepError("LiteRT does not run it", "no such kernel")
    (failed,), _ = built(tmp_path / "own", bench, planned(**PLAIN))
    assert failed.error is not None
    assert failed.error.what == "LiteRT does not run it"
    assert not (tmp_path / "own" / "dist").exists()
    outcomes, _ = built(tmp_path / "stand-in", bench, planned("mcu", **_on("host")))
    manifest = only(outcomes)
    assert manifest.lacking["latency on host"] == "LiteRT does not run it: no such kernel"
    assert (tmp_path / "stand-in" / "dist" / "mcu" / "kws.tflite").is_file()


def test_what_was_measured_is_kept_unless_it_is_asked_for_anew(tmp_path: Path) -> None:
    bench = Bench()
    built(tmp_path, bench, planned(**PLAIN))
    bench.costs["net int8", "host"] = 0.5
    outcomes, fake = built(tmp_path, bench, planned(**PLAIN))
    assert fake.asked == []
    outcomes, fake = built(tmp_path, bench, planned(**PLAIN), again=True)
    assert sorted(set(kinds(fake))) == ["measure", "score"]
    assert next(f.value for f in only(outcomes).measurements if f.subject == Subject.LATENCY) == 0.5


def test_a_place_that_is_none_ends_a_build_with_what_can_be_written(tmp_path: Path) -> None:
    (failed,), _ = built(tmp_path, Bench(), planned(**_on("toaster")))
    assert isinstance(failed.error, UsageError)
    assert "host, host:xnnpack=off, tflm, ssh:user@host" in failed.error.why


def test_what_is_measured_beside_an_inference_is_a_figure_and_what_disturbed_it_a_note(tmp_path: Path) -> None:
    bench = Bench()
    bench.timing = {"load": (0.1, 0.3, 0.2), "first": (0.01,), "peak_memory_bytes": (5, 7), "energy_j": 0.002}
    bench.timing["conditions"] = ("the processor was throttled",)
    manifest = only(built(tmp_path, bench, planned(budgets={"energy": "1 mJ", "load": "1 s"}, **PLAIN))[0])
    figures = {str(figure.subject): figure.value for figure in manifest.measurements if figure.where == "host"}
    assert (figures["load"], figures["first_inference"], figures["peak_memory"]) == (0.2, 0.01, 7)
    assert (statuses(manifest)["energy"], statuses(manifest)["load"]) == ("fail", "pass")
    assert said(manifest, "throttled") == "arm64: host: the processor was throttled"
