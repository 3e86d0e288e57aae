"""What a build leaves in the user's folder, over what lay there, and when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from making import MODEL
from pipeline_answers import Bench
from pipelines import PLAIN, built, given, installed, only, planned, through_api

from edgebuild import api, config, repository
from edgebuild.core.plan import Source
from edgebuild.core.progress import Silence
from edgebuild.errors import StepError, UsageError
from edgebuild.pipeline import publish
from edgebuild.repository import GitError, UnknownRefError


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _changed(digit: str) -> Source:
    """The same file with another network in it."""
    return msgspec.structs.replace(MODEL, sha256=digit * 64)


def test_a_build_over_an_earlier_one_removes_its_files_and_keeps_those_of_others(tmp_path: Path) -> None:
    bench, folder = Bench(), tmp_path / "dist" / "mcu"
    bench.firmware = {"old.cc": "old", "both.cc": "old"}
    only(built(tmp_path, bench, planned("mcu", **PLAIN))[0])
    (folder / "firmware" / "own.cc").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    bench.firmware = {"both.cc": "new", "new.cc": "new"}
    bench.frozen["file"] = {"text": "changed"}
    manifest = only(built(tmp_path, bench, planned("mcu", _changed("1"), **PLAIN))[0])
    assert _files(folder) >= {"firmware/own.cc", "notes.txt", "firmware/both.cc", "firmware/new.cc", "kws.tflite"}
    assert "firmware/old.cc" not in _files(folder)
    assert (folder / "firmware" / "both.cc").read_text() == "new"
    assert {item.path for item in manifest.files} == _files(folder) - {
        "firmware/own.cc",
        "notes.txt",
        "kws.tflite",
        "manifest.json",
    }
    bench.firmware = {}
    bench.frozen["file"] = {"text": "again"}
    (folder / "firmware" / "own.cc").unlink()
    only(built(tmp_path, bench, planned("mcu", _changed("2"), **PLAIN))[0])
    assert not (folder / "firmware").exists()


def test_without_a_card_there_is_none_and_reports_lie_beside_where_they_are_asked_for(tmp_path: Path) -> None:
    over = {"delivery": {"card": False}}
    manifest = only(built(tmp_path, Bench(), planned(over=over, **PLAIN), reports=("text", "json"))[0])
    folder = tmp_path / "dist" / "arm64"
    assert manifest.files == ()
    assert {path.split("/")[0] for path in _files(folder)} == {"kws.tflite", "manifest.json", "reports"}


def test_a_folder_that_cannot_be_written_ends_a_build_before_it_begins_and_leaves_what_lay_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = through_api(monkeypatch, tmp_path, Bench())
    model, data = given(tmp_path)
    (tmp_path / "file").write_text("mine")
    tables: dict[str, Any] = {"model": {"path": model}, "data": {"path": data}}
    tables["build"] = {"targets": ["arm64"], "out": str(tmp_path / "file" / "dist")}
    with pytest.raises(StepError, match="cannot be written") as error:
        api.build_all(config.load(tables, {}, use_file=False), Silence())
    assert "is not a folder" in error.value.why
    monkeypatch.setattr("os.access", lambda *_: False)
    tables["build"]["out"] = str(tmp_path / "dist")
    with pytest.raises(StepError, match="cannot be written") as error:
        api.build_all(config.load(tables, {}, use_file=False), Silence())
    assert "You may not write in" in error.value.why
    assert fakes == []


def test_what_is_in_the_way_leaves_the_earlier_build_whole(tmp_path: Path) -> None:
    bench, folder = Bench(), tmp_path / "dist" / "arm64"
    only(built(tmp_path, bench, planned(**PLAIN))[0])
    (folder / "model_card.md").unlink()
    (folder / "model_card.md").mkdir()
    before = (folder / "kws.tflite").read_bytes(), (folder / "manifest.json").read_bytes()
    bench.frozen["file"] = {"text": "changed"}
    (failed,), _ = built(tmp_path, bench, planned(of=_changed("1"), **PLAIN))
    assert failed.error is not None
    assert "model_card.md is a folder" in failed.error.why
    assert ((folder / "kws.tflite").read_bytes(), (folder / "manifest.json").read_bytes()) == before
    assert not [name for name in _files(folder) if Path(name).name.startswith(".")]


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    plan, bench = planned(**PLAIN), Bench()
    monkeypatch.setattr(publish.os, "fsync", full)
    (failed,), _ = built(tmp_path, bench, plan)
    assert failed.error is not None
    assert "Make room, or name another folder with --out." in failed.error.remedy
    assert _files(tmp_path / "dist") == set()


# Earlier builds in a repository, which is a table here.


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What the commit v1 holds: an earlier build, for two targets, in the folder that is built into now."""
    bench = Bench()
    bench.tails["net int8"] = ("RELU",)
    built(tmp_path, bench, planned(**PLAIN), planned("mcu", **PLAIN))
    held = {str(path.relative_to(tmp_path)): path.read_bytes() for path in (tmp_path / "dist").rglob("*.*")}

    def resolve(_: Path, ref: str) -> str:
        if ref != "v1":
            raise UnknownRefError(f"git knows no commit {ref}")
        return "ab" * 20

    monkeypatch.setattr(repository, "top", lambda _: tmp_path)
    monkeypatch.setattr(repository, "resolve", resolve)
    monkeypatch.setattr(repository, "read", lambda top, sha, path: held[path])
    monkeypatch.setattr(
        repository, "files", lambda top, sha, under: [path for path in held if f"{path}/".startswith(f"{under}/")]
    )
    return held


def _against(folder: Path, baseline: str, **bench: Any) -> Any:
    return planned(**PLAIN, bench={"baseline": baseline, **bench})


@pytest.mark.parametrize("named", ["v1", "git:v1", "v1:dist", "v1:dist/arm64", "v1:dist/arm64/kws.tflite"])
def test_a_build_of_a_commit_is_a_baseline_by_ref_folder_or_file(
    named: str, committed: dict[str, bytes], tmp_path: Path
) -> None:
    outcomes, fake = built(tmp_path, Bench(), _against(tmp_path, named))
    comparison = only(outcomes).comparison
    assert (comparison.baseline, comparison.lacking) == (named, "")
    (measured,) = [asked for asked in fake.asked if asked.kind == "measure"]
    assert "in turn with kws.tflite of the baseline" in measured.title


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("v2", "there is no v2, and git knows no commit v2"),
        ("git:v2", "git knows no commit v2"),
        ("v1:elsewhere", "v1 (ababababab) holds no manifest.json at elsewhere"),
        ("v1:dist/arm64/other.tflite", "there is no other.tflite in it"),
        ("v1:dist/mcu", "it is of mcu, not of arm64"),
    ],
)
def test_a_commit_without_such_a_build_is_no_baseline(
    named: str, why: str, committed: dict[str, bytes], tmp_path: Path
) -> None:
    comparison = only(built(tmp_path, Bench(), _against(tmp_path, named))[0]).comparison
    assert comparison.lacking == why


def test_a_pointer_or_a_lack_in_a_commit_leaves_what_was_recorded(committed: dict[str, bytes], tmp_path: Path) -> None:
    committed["dist/arm64/kws.tflite"] = b"version https://git-lfs.github.com/spec/v1\n"
    comparison = only(built(tmp_path, Bench(), _against(tmp_path, "v1"))[0]).comparison
    assert "kws.tflite beside v1:dist/arm64/manifest.json is a git-lfs pointer" in comparison.lacking
    assert {str(change.subject) for change in comparison.changes} >= {"size", "activations"}
    (failed,), _ = built(tmp_path, Bench(), _against(tmp_path, "-x"))
    assert isinstance(failed.error, UsageError)
    assert "'-x' cannot be a baseline" in failed.error.what


def test_a_repository_that_cannot_be_read_is_a_reason(
    committed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> list[str]:
        raise GitError("git was not done after 10 s")

    monkeypatch.setattr(repository, "files", slow)
    comparison = only(built(tmp_path, Bench(), _against(tmp_path, "v1"))[0]).comparison
    assert comparison.lacking == "git was not done after 10 s"


def test_a_build_is_held_beside_that_of_a_commit(
    committed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgebuild.pipeline import baselines

    monkeypatch.chdir(tmp_path)
    bench = Bench()
    bench.frozen["file"] = {"text": "new"}
    built(tmp_path / "now", bench, planned(**PLAIN))
    (difference,) = baselines.compare("v1:dist", tmp_path / "now" / "dist")
    assert difference.before == "v1:dist/arm64/kws.tflite"
    assert [layer.operator for layer in difference.layers if layer.after < 0] == ["RELU"]
    assert difference.figures
    (files,) = baselines.compare("v1:dist/arm64/kws.tflite", "v1:dist/mcu/kws.tflite")
    assert (files.before, files.after) == ("v1:dist/arm64/kws.tflite", "v1:dist/mcu/kws.tflite")
    with pytest.raises(UsageError, match="there is no v2"):
        baselines.compare("v2", tmp_path / "now" / "dist")
