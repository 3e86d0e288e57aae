"""Several builds in one go, through the command: one session, one exit code, and only what is missing is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pipeline_answers import Bench
from pipelines import given, installed, kinds, through_api

from edgebuild import many
from edgebuild.cli import run
from edgebuild.core.progress import Silence
from edgebuild.errors import ExitCode, StepError
from edgebuild.execution.fake import Fake

NAMES = ("first", "second", "third")


class Heard(Silence):
    def __init__(self) -> None:
        self.started: list[str] = []
        self.notes: list[str] = []

    def step_started(self, title: str) -> None:
        self.started.append(title)

    def noted(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    installed(monkeypatch)
    bench = Bench()
    bench.frozen_as = lambda job: {"text": Path(job.path).read_text()}
    bench.errors["carry"] = StepError("the layers are not known")
    return bench


@pytest.fixture
def fakes(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Fake]:
    for name in NAMES:
        given(tmp_path, name, content=name)
    return through_api(monkeypatch, tmp_path, bench)


def _tree(**build: Any) -> dict[str, Any]:
    asked = {"targets": ["arm64", "mcu"], "compress": False, "refine": False, **build}
    return {"build": asked, "data": {"path": "data.npz"}}


def _loaded(*names: str, **build: Any) -> list[many.Build]:
    return many.load(_tree(**build), {}, models=[f"{name}.keras" for name in names or NAMES])


def _run(*names: str, arguments: tuple[str, ...] = ()) -> int:
    """The command, with this process's own output read by the caller."""
    models = [f"{name}.keras" for name in names or NAMES]
    plain = ["--no-compress", "--no-refine", "--quiet", "--data", "data.npz"]
    return run(["build-all", *models, "-t", "arm64", "-t", "mcu", *plain, *arguments])


def test_builds_share_a_session_and_each_message_carries_the_name_of_its_build(
    fakes: list[Fake], tmp_path: Path
) -> None:
    heard = Heard()
    made = many.build_many(_loaded(), heard)
    assert [(each.name, [outcome.target for outcome in each.outcomes]) for each in made] == [
        (name, ["arm64", "mcu"]) for name in NAMES
    ]
    assert len(fakes) == 1
    for name in NAMES:
        assert {path.name for path in (tmp_path / "dist" / name).iterdir()} == {"arm64", "mcu"}
        assert (tmp_path / "dist" / name / "mcu" / f"{name}.tflite").is_file()
    assert {title.partition(": ")[0] for title in heard.started} == set(NAMES)
    assert any(title.startswith("second: mcu: ") for title in heard.started)
    assert [note for note in heard.notes if "it was divided" in note] == [f"{name}: it was divided" for name in NAMES]
    # The same data for networks of the same inputs are divided once.
    assert kinds(fakes[0]).count("split") == 1
    assert kinds(fakes[0]).count("freeze") == 3


def test_one_that_fails_leaves_the_others_alone_and_the_exit_code_is_the_worst(
    bench: Bench, fakes: list[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.errors["quantize second int8"] = StepError("the converter refused it", "so it says")
    bench.scores["third int8"] = 0.5
    (tmp_path / "edgebuild.toml").write_text("[build]\nrepair = false\n")
    assert _run() == ExitCode.STEP_FAILED
    shown = capsys.readouterr()
    assert "second for arm64" in shown.err
    assert "the converter refused it" in shown.err
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {"first", "third"}
    assert _run("first", "third") == ExitCode.BUDGET_FAILED
    assert _run("first") == ExitCode.OK
    assert run(["check", "dist/first"]) == ExitCode.OK
    assert run(["check", "dist"]) == ExitCode.BUDGET_FAILED


def test_a_second_run_does_only_what_is_missing(bench: Bench, fakes: list[Fake], tmp_path: Path) -> None:
    bench.errors["quantize second int8"] = StepError("the converter refused it")
    assert _run() == ExitCode.STEP_FAILED
    kept = {path: path.read_bytes() for path in (tmp_path / "dist").rglob("*") if path.is_file()}
    del bench.errors["quantize second int8"]
    assert _run() == ExitCode.OK
    again = fakes[-1]
    assert again.asked
    assert not {"freeze", "split", "baseline"} & set(kinds(again))  # they were done, for the one that failed too
    assert {asked.title.partition(":")[0] for asked in again.asked} <= {"arm64", "mcu"}
    assert kinds(again).count("quantize") == 3  # for two targets, and the float network to compare with
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert _run() == ExitCode.OK
    assert fakes[-1].asked == []


def test_a_build_that_cannot_be_planned_is_said_with_its_name_and_the_others_are_built(
    fakes: list[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("first", "missing", arguments=("--json",)) == ExitCode.USAGE
    shown = json.loads(capsys.readouterr().out)
    assert shown["exit_code"] == ExitCode.USAGE
    assert [build["name"] for build in shown["builds"]] == ["first", "missing"]
    assert (tmp_path / "dist" / "first" / "mcu" / "manifest.json").is_file()
    assert not (tmp_path / "dist" / "missing").exists()


def test_a_step_that_all_targets_of_one_share_fails_all_of_that_and_no_other(bench: Bench, fakes: list[Fake]) -> None:
    bench.errors["freeze second"] = StepError("it cannot be loaded")
    first, second, third = many.build_many(_loaded())
    assert [outcome.error is None for outcome in (*first.outcomes, *third.outcomes)] == [True] * 4
    assert [(outcome.target, outcome.error.what) for outcome in second.outcomes if outcome.error] == [
        ("arm64", "it cannot be loaded"),
        ("mcu", "it cannot be loaded"),
    ]


def test_a_bug_in_one_is_raised_once_the_others_are_done(bench: Bench, fakes: list[Fake], tmp_path: Path) -> None:
    frozen = bench.frozen_as

    def broken(job: Any) -> dict[str, Any]:
        if "second" in Path(job.path).read_text():
            raise ZeroDivisionError("a bug")
        return frozen(job)

    bench.frozen_as = broken
    with pytest.raises(ZeroDivisionError, match="a bug"):
        many.build_many(_loaded())
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {"first", "third"}


def test_what_was_never_built_fails_the_check_of_all(
    fakes: list[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [f'[[build]]\nmodel = "{name}.keras"\ndata = "data.npz"\ntargets = ["mcu"]' for name in NAMES[:2]]
    (tmp_path / "edgebuild.toml").write_text("\n".join(tables) + "\n")
    assert run(["build-all", "--quiet", "--no-compress", "--no-refine"]) == ExitCode.OK
    assert run(["check"]) == ExitCode.OK
    for path in sorted((tmp_path / "dist" / "second").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    capsys.readouterr()
    assert run(["check"]) == ExitCode.USAGE
    assert "second" in capsys.readouterr().err
