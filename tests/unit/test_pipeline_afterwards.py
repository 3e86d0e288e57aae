"""What is done with builds afterwards: measured again, gated again, held side by side, and used for estimates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import board_figures
import msgspec
import pytest
from dense_files import dense_file
from pipeline_answers import Bench
from pipelines import given, installed, kinds, through_api
from tflite_networks import TYPE

from edgebuild import api, config
from edgebuild.core.budget import Subject
from edgebuild.core.measurement import Mode
from edgebuild.core.progress import Silence
from edgebuild.core.verdict import Status
from edgebuild.errors import StepError, UnavailableError, UsageError
from edgebuild.execution.fake import Fake
from edgebuild.pipeline import baselines
from edgebuild.process import ChildDiedError
from edgebuild.runtimes.arm64 import emulator

AWAY = UnavailableError("pi@two is not there", "no route to host")


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    monkeypatch.setattr(emulator, "state", lambda: "an emulation")


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bench: Bench) -> list[Fake]:
    return through_api(monkeypatch, tmp_path, bench)


def _configured(**tables: Any) -> config.Configuration:
    return config.load(tables, {}, use_file=False)


def _build(folder: Path, *targets: str, out: str = "dist", content: str = "a network", **tables: Any) -> Path:
    model, data = given(folder, content=content)
    build = {"targets": list(targets or ("arm64",)), "out": str(folder / out), "compress": False, "refine": False}
    asked = {"model": {"path": model}, "data": {"path": data}, **tables, "build": build}
    assert [outcome.error for outcome in api.build_all(_configured(**asked), Silence())] == [None] * len(targets or "1")
    return folder / out


# Measured again.


def test_what_was_built_is_measured_anew_each_time_and_judged_with_what_the_build_recorded(
    bench: Bench, fakes: list[Fake], tmp_path: Path
) -> None:
    out = _build(tmp_path)
    bench.costs["net int8", "host"] = 0.002
    limits = _configured(budgets={"latency": "1 ms"})
    (found,) = api.bench(out, limits)
    assert found.target == "arm64"
    assert next(f.value for f in found.measurements if f.subject == Subject.LATENCY) == 0.002
    judged = {str(check.budget.subject): check.status for check in found.verdict.checks}
    assert judged == {"accuracy_drop": Status.PASS, "latency": Status.FAIL}
    api.bench(out, limits)
    assert [kinds(fake) for fake in fakes[1:]] == [["measure"], ["measure"]]


def test_a_place_that_was_asked_for_and_is_away_makes_the_verdict_inconclusive(
    bench: Bench, fakes: list[Fake], tmp_path: Path
) -> None:
    out = _build(tmp_path)
    bench.errors["measure ssh:pi@two"] = AWAY
    (found,) = api.bench(out, _configured(bench={"on": ["host", "ssh:pi@two"]}))
    assert [f.where for f in found.measurements if f.subject == Subject.LATENCY] == ["host"]
    assert found.verdict.status == Status.INCONCLUSIVE
    (requirement,) = found.verdict.requirements
    assert (requirement.what, "pi@two is not there" in requirement.reason) == ("figures on ssh:pi@two", True)


def test_against_a_baseline_a_limit_is_assumed_except_for_a_target_whose_time_is_not_this_hosts(
    bench: Bench, fakes: list[Fake], tmp_path: Path
) -> None:
    bench.frozen["file"] = {"text": "old"}
    before = _build(tmp_path, "arm64", "mcu", out="before", content="an earlier network")
    bench.frozen.clear()
    out = _build(tmp_path, "arm64", "mcu")
    bench.costs["net int8", "host"] = 1.2e-4
    app, micro = api.bench(out, _configured(bench={"baseline": str(before)}))
    assert app.comparison is not None
    (limit,) = [check for check in app.verdict.checks if check.budget.of_baseline]
    assert (limit.budget.subject, limit.budget.limit, limit.status) == (Subject.LATENCY, 0.05, Status.FAIL)
    assert "a latency on this host is none of mcu's" in "".join(micro.notes)
    assert not [check for check in micro.verdict.checks if check.budget.of_baseline]
    on_board = _configured(bench={"baseline": str(before), "on": ["ssh:pi@one"]})
    _, micro = api.bench(out, on_board)
    (limit,) = [check for check in micro.verdict.checks if check.budget.of_baseline]
    assert limit.budget.on == "ssh:pi@one"


def test_a_baseline_that_is_required_must_be_named(fakes: list[Fake], tmp_path: Path) -> None:
    out = _build(tmp_path)
    with pytest.raises(UsageError, match="a baseline is required, and none is named"):
        api.bench(out, _configured(bench={"baseline_required": True}))


def test_operators_are_timed_without_the_profiler_where_that_ends_its_process(
    bench: Bench, fakes: list[Fake], tmp_path: Path
) -> None:
    out = _build(tmp_path)
    (found,) = api.bench(out, operators=True)
    assert found.operators is not None
    assert (found.operators.mode, found.operators.notes) == (Mode.MEASURED, ())
    bench.errors["operator-times with the profiler"] = ChildDiedError("the process crashed", "signal 11")
    (found,) = api.bench(out, operators=True)
    assert found.operators is not None
    assert (found.operators.mode, found.operators.notes) == (
        Mode.ESTIMATED,
        ("with LiteRT's profiler the process crashed",),
    )


def test_a_file_of_which_nothing_is_known_has_an_arena_where_that_is_limited(
    fakes: list[Fake], tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _build(tmp_path, "mcu")
    alone = tmp_path / "alone.tflite"
    alone.write_bytes((out / "mcu" / "kws.tflite").read_bytes())
    limits = _configured(budgets={"arena": "1 KB", "size": "10 KB"})
    (found,) = api.bench(alone, limits)
    judged = {str(check.budget.subject): str(check.status) for check in found.verdict.checks}
    assert judged == {"arena": "fail", "size": "pass"}
    bench.errors["tflm-arena"] = StepError("no arena is enough")
    (found,) = api.bench(_another(alone), limits)
    assert found.verdict.status == Status.INCONCLUSIVE
    assert "no arena is enough" in str(found.verdict)
    installed(monkeypatch, tflm=None)
    (found,) = api.bench(alone, limits)
    assert "TensorFlow Lite Micro is not installed" in str(found.verdict)


def _another(alone: Path) -> Path:
    """A file of other weights, of which nothing is kept yet."""
    path = alone.with_name("another.tflite")
    path.write_bytes(dense_file("another", dtype=TYPE.INT8, has_float_ends=False))
    return path


def test_what_is_damaged_or_was_changed_is_not_run(fakes: list[Fake], tmp_path: Path) -> None:
    out = _build(tmp_path)
    asked = len(fakes)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((out / "arm64" / "kws.tflite").read_bytes()[:200])
    with pytest.raises(StepError):
        api.bench(damaged)
    (out / "arm64" / "kws.tflite").write_bytes(_another(damaged).read_bytes())
    with pytest.raises(StepError, match="is not the file that"):
        api.bench(out)
    assert len(fakes) == asked


# Gated again.


def test_a_check_gates_all_targets_by_what_was_recorded_and_runs_nothing(fakes: list[Fake], tmp_path: Path) -> None:
    out = _build(tmp_path, "arm64", "mcu")
    opened = len(fakes)
    assert [str(found.verdict.status) for found in api.check(out) if found.verdict] == ["pass", "pass"]
    timed = {"limit": "1 ms", "on": "ssh:pi@one"}
    tight = api.check(out, _configured(budgets={"size": "10 B", "latency": timed}))
    for found in tight:
        assert found.verdict is not None
        judged = {str(check.budget.subject): check for check in found.verdict.checks}
        assert judged["size"].status == Status.FAIL
        assert judged["latency"].status == Status.INCONCLUSIVE
        assert "edgebuild bench measures it" in judged["latency"].reason
    assert len(fakes) == opened


def test_what_does_not_hold_for_the_files_that_lie_there_is_an_error_of_its_target_alone(
    fakes: list[Fake], tmp_path: Path
) -> None:
    out = _build(tmp_path, "arm64", "mcu", "edgetpu")
    (out / "arm64" / "kws.tflite").write_bytes(b"another")
    (out / "mcu" / "model_card.md").unlink()
    app, coral, micro = api.check(out)
    assert app.error is not None
    assert "is not the file that" in app.error.what
    assert coral.error is None
    assert micro.error is not None
    assert "model_card.md cannot be read" in micro.error.what
    newer = out / "edgetpu" / "manifest.json"
    newer.write_text(json.dumps({"schema_version": 99}))
    (coral,) = api.check(newer)
    assert coral.error is not None
    assert "was written by a newer edgebuild" in coral.error.what


def test_targets_network_and_data_must_be_those_that_are_configured(fakes: list[Fake], tmp_path: Path) -> None:
    out = _build(tmp_path)
    build = {"out": str(out), "targets": ["arm64", "mcu"]}
    app, micro = api.check(None, _configured(build=build))
    assert app.error is None
    assert micro.error is not None
    assert micro.error.what.endswith("manifest.json is missing")
    model, _ = given(tmp_path, content="a changed network")
    (found,) = api.check(None, _configured(build={"out": str(out)}, model={"path": model}))
    assert found.error is not None
    assert "is of an earlier build" in found.error.what
    with pytest.raises(UsageError, match="nothing to check"):
        api.check(tmp_path / "nowhere")


def test_reports_say_what_the_gate_says_now_and_the_manifest_stays(fakes: list[Fake], tmp_path: Path) -> None:
    out = _build(tmp_path)
    before = (out / "arm64" / "manifest.json").read_bytes()
    api.check(out, _configured(budgets={"size": "10 B"}, build={"reports": ["text"]}))
    (report,) = (out / "arm64" / "reports").iterdir()
    assert "size" in report.read_text()
    assert "fail" in report.read_text().lower()
    assert (out / "arm64" / "manifest.json").read_bytes() == before


# Side by side.


def test_builds_are_held_side_by_side_for_the_targets_that_both_have(
    bench: Bench, fakes: list[Fake], tmp_path: Path
) -> None:
    bench.tails["net int8"] = ("RELU",)
    before = _build(tmp_path, "arm64", "mcu", out="before", content="an earlier network")
    bench.tails.clear()
    bench.frozen["file"] = {"text": "new"}
    after = _build(tmp_path, "mcu", "edgetpu", out="after")
    (difference,) = baselines.compare(before, after)
    assert Path(difference.before).parent.name == Path(difference.after).parent.name == "mcu"
    removed = [layer.operator for layer in difference.layers if layer.after < 0]
    assert removed == ["RELU"]
    with pytest.raises(UsageError, match="have no target in common"):
        baselines.compare(before / "arm64", after)
    (files,) = baselines.compare(before / "mcu" / "kws.tflite", after / "mcu" / "kws.tflite")
    assert files.figures  # both lie beside their manifests


def test_a_file_beside_the_manifest_of_another_stands_for_itself(fakes: list[Fake], tmp_path: Path) -> None:
    out = _build(tmp_path)
    other = _another(out / "arm64" / "kws.tflite")
    (difference,) = baselines.compare(out / "arm64" / "kws.tflite", other)
    assert difference.figures == ()


# Estimates.


def _family(folder: Path) -> list[Path]:
    paths = [folder / f"net{length}.tflite" for length in (1, 12, 25, 60)]
    for path in paths:
        length = int(path.stem.removeprefix("net"))
        path.write_bytes(dense_file("a", dtype=TYPE.INT8, has_float_ends=True, tail=("RELU",) * length))
    return paths


def test_a_calibration_gives_the_time_of_a_build_that_is_only_counted(
    bench: Bench, fakes: list[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBUILD_CALIBRATIONS", str(tmp_path / "calibrations"))
    bench.instead["measure"] = board_figures.measured
    made, path = api.calibrate(_family(tmp_path), on="ssh:pi@one", core="cortex-a72")
    assert (made.core, made.place, len(made.points)) == ("cortex-a72", "ssh:pi@one", 4)
    assert path.parent == tmp_path / "calibrations"
    asked = [(item.kind, item.settings.place.label) for item in fakes[-1].asked]
    assert asked == [("measure", place) for _ in range(4) for place in ("arm64:cortex-a72", "ssh:pi@one")]
    # The device is measured again each time; what was counted is found.
    api.calibrate(_family(tmp_path), on="ssh:pi@one", core="cortex-a72")
    assert [item.settings.place.label for item in fakes[-1].asked] == ["ssh:pi@one"] * 4
    bench.tails["net int8"] = ("RELU",) * 20
    out = _build(tmp_path, bench={"on": ["arm64:cortex-a72"]})
    manifest = json.loads((out / "arm64" / "manifest.json").read_text())
    (latency,) = [item for item in manifest["measurements"] if item["subject"] == "latency"]
    size = (out / "arm64" / "kws.tflite").stat().st_size
    count = board_figures.INSTRUCTIONS_A_BYTE * size
    expected = board_figures.INTERCEPT_S + board_figures.SLOPE_S * count
    assert (latency["mode"], latency["where"]) == ("estimated", "arm64:cortex-a72")
    assert latency["value"] == pytest.approx(expected, rel=1e-3)
    # A damaged one is said, and the others hold.
    (tmp_path / "calibrations" / "a.json").write_text("{")
    (found,) = api.bench(out, _configured(bench={"on": ["arm64:cortex-a72"]}))
    assert Mode.ESTIMATED in {f.mode for f in found.measurements if f.subject == Subject.LATENCY}
    assert any("a.json cannot be read" in note for note in found.notes)


def _as_if(**fields: Any) -> Any:
    def measured(job: Any, out: Path) -> Any:
        found = board_figures.measured(job, out)
        changed = fields if not job.place.emulates else {}
        return msgspec.structs.replace(found, artifact=msgspec.structs.replace(found.artifact, **changed))

    return measured


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"machine": "x86_64, a server, 8 cores"}, "ssh:pi@one is no arm64 machine, but x86_64"),
        ({"kernels": "builtin"}, "ran on xnnpack kernels in emulation, and on builtin on the device"),
        ({"versions": {"ai-edge-litert": "1.0"}}, "LiteRT 2.3.0 is emulated, and the device has 1.0"),
        ({"statistics": {"median": 1e-4}, "intervals": {}}, "these networks make no calibration"),
    ],
)
def test_figures_of_which_one_says_nothing_of_the_other_make_no_calibration(
    fields: dict[str, Any], what: str, bench: Bench, fakes: list[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBUILD_CALIBRATIONS", str(tmp_path / "calibrations"))
    bench.instead["measure"] = _as_if(**fields)
    with pytest.raises(StepError) as error:
        api.calibrate(_family(tmp_path), on="ssh:pi@one", core="cortex-a72")
    assert what in error.value.what
    assert not (tmp_path / "calibrations").exists()


@pytest.mark.parametrize(
    ("on", "core", "name", "files", "what"),
    [
        ("toaster", "cortex-a72", "", 4, "that cannot be calibrated"),
        ("arm64:cortex-a72", "cortex-a72", "", 4, "arm64:cortex-a72 is no device"),
        ("ssh:pi@one", "host:xnnpack=off", "", 4, "is no emulated core"),
        ("ssh:pi@one", "cortex-a72", "a/b", 4, "'a/b' is no name for a calibration"),
        ("ssh:pi@one", "cortex-a72", "", 3, "a calibration needs at least 4 artifacts"),
    ],
)
def test_what_cannot_make_a_calibration_is_refused_before_anything_is_run(
    on: str, core: str, name: str, files: int, what: str, fakes: list[Fake], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        api.calibrate(_family(tmp_path)[:files], on=on, core=core, name=name)
    assert what in error.value.what
    assert fakes == []


def test_a_device_that_is_away_ends_a_calibration(bench: Bench, fakes: list[Fake], tmp_path: Path) -> None:
    bench.instead["measure"] = lambda job, out: (_ for _ in ()).throw(AWAY)
    with pytest.raises(UnavailableError, match="pi@two is not there"):
        api.calibrate(_family(tmp_path), on="ssh:pi@two", core="cortex-a72")


# What another build would take.


def test_what_builds_took_is_kept_and_tells_what_the_next_takes(fakes: list[Fake], tmp_path: Path) -> None:
    def outlook(content: str, *targets: str) -> Any:
        model, data = given(tmp_path, content=content)
        tables = {"model": {"path": model}, "data": {"path": data}, "build": {"targets": list(targets)}}
        tables["build"] |= {"compress": False, "refine": False}
        return api.outlooks(api.plans(_configured(**tables)))

    (unknown,) = outlook("a network", "arm64")
    assert unknown.basis == "a rough guess: nothing was built here before"
    assert unknown.data is not None
    _build(tmp_path, "arm64", "mcu")
    (known, new) = outlook("a network", "arm64", "edgetpu")
    assert (known.basis, new.basis) == ("from 1 earlier build of this network", "from 2 earlier builds of this network")
    (other,) = outlook("another network", "arm64")
    assert other.basis == "from 1 earlier build of another network, by its size"
    # Lines that cannot be read are left out.
    kept = tmp_path / "store" / "times.jsonl"
    kept.write_bytes(b"{\n" + kept.read_bytes())
    assert outlook("a network", "arm64")[0].basis == known.basis


def test_a_build_that_fails_tells_nothing_of_the_next(bench: Bench, fakes: list[Fake], tmp_path: Path) -> None:
    bench.errors["measure"] = StepError("it does not run")
    model, data = given(tmp_path)
    tables = {"model": {"path": model}, "data": {"path": data}, "build": {"targets": ["arm64"], "out": "dist"}}
    (outcome,) = api.build_all(_configured(**tables), Silence())
    assert outcome.error is not None
    assert not (tmp_path / "store" / "times.jsonl").exists()
