"""Baselines as users name them: files, folders and commits, sound, damaged and foreign."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from making import figure, manifest, plan

from edgebuild import hashing, repository
from edgebuild.core.manifest import Manifest
from edgebuild.errors import UsageError
from edgebuild.pipeline import baselines
from edgebuild.pipeline.baselines import Baseline, Wanted
from edgebuild.pipeline.figures import describe, of_file
from edgebuild.repository import GitError
from tests.conftest import PATIENCE_S

KWS = Wanted("kws", "mcu", "reference")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2704\n"


@pytest.fixture(scope="module")
def small(assets: Path) -> bytes:
    return (assets / "tflm" / "hello_world_int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def other(assets: Path) -> bytes:
    return (assets / "tflm" / "trained_lstm_int8.tflite").read_bytes()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def _publish(data: bytes, folder: Path, **fields: Any) -> Manifest:
    """A build as it is left in a target's folder."""
    artifact = describe("kws.tflite", data)
    latency = figure("latency", 1e-3, where="host", kernels="reference")
    made = manifest(**{"artifact": artifact, "measurements": (*of_file(artifact), latency), **fields})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kws.tflite").write_bytes(data)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made))
    return made


def _find(named: object, scratch: Path, wanted: Wanted = KWS, out: Path | None = None) -> Baseline:
    return baselines.find(str(named), wanted, out or scratch.parent / "dist", scratch)


def _lacking(found: Baseline) -> str:
    """Why there is no comparison at all."""
    assert (found.before.sha256, found.before.measurements, found.artifact, found.manifest) == ("", (), None, None)
    return found.before.lacking


def _sizes(found: Baseline) -> dict[str, float]:
    return {item.subject: item.value for item in found.before.measurements if item.where == "file"}


def test_a_manifest_a_targets_folder_a_folder_of_targets_and_a_file_name_the_same(
    small: bytes, tmp_path: Path, scratch: Path
) -> None:
    old = tmp_path / "old"
    _publish(small, old / "mcu")
    _publish(small, old / "arm64", target="arm64")
    for named in (old, old / "mcu", old / "mcu" / "manifest.json", old / "mcu" / "kws.tflite"):
        found = _find(named, scratch)
        assert found.before.named == str(named)
        assert found.before.sha256 == hashing.of_bytes(small)
        assert found.before.lacking == ""
        assert found.artifact == old / "mcu" / "kws.tflite"
        assert found.manifest is not None
        assert found.manifest.target == "mcu"
        assert any(item.subject == "latency" for item in found.before.measurements)


def test_a_file_without_a_manifest_tells_its_sizes(small: bytes, tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "any.tflite").write_bytes(small)
    found = _find(tmp_path / "any.tflite", scratch, Wanted())
    assert (found.artifact, found.manifest, found.before.lacking) == (tmp_path / "any.tflite", None, "")
    sizes = _sizes(found)
    assert sizes["size"] == len(small)
    assert set(sizes) == {"size", "gzip_size", "activations"}
    assert sizes["activations"] > 0


def test_a_manifest_beside_a_file_that_is_of_another_says_nothing_of_it(
    small: bytes, other: bytes, tmp_path: Path, scratch: Path
) -> None:
    _publish(small, tmp_path / "old")
    (tmp_path / "old" / "other.tflite").write_bytes(other)
    found = _find(tmp_path / "old" / "other.tflite", scratch)
    assert (found.manifest, _sizes(found)["size"]) == (None, len(other))


def test_sizes_are_of_the_file_whatever_was_recorded(small: bytes, tmp_path: Path, scratch: Path) -> None:
    _publish(small, tmp_path / "old", measurements=(figure("size", 7), figure("gzip_size", 5)))
    assert _sizes(_find(tmp_path / "old", scratch))["size"] == len(small)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Wanted("kws", "arm64", "xnnpack"), "it is of mcu, not of arm64"),
        (Wanted("digits", "mcu", "reference"), "it is of the network kws, not of digits"),
    ],
)
def test_a_foreign_baseline_is_no_comparison(
    small: bytes, tmp_path: Path, scratch: Path, wanted: Wanted, reason: str
) -> None:
    _publish(small, tmp_path / "old" / "mcu")
    assert _lacking(_find(tmp_path / "old", scratch, wanted)) == reason


def test_of_several_targets_one_must_be_wanted(small: bytes, tmp_path: Path, scratch: Path) -> None:
    for target in ("mcu", "arm64"):
        _publish(small, tmp_path / "old" / target, target=target)
    assert "it holds several targets (arm64, mcu)" in _lacking(_find(tmp_path / "old", scratch, Wanted()))


def test_an_artifact_for_other_kernels_is_compared_in_size_alone(small: bytes, tmp_path: Path, scratch: Path) -> None:
    _publish(small, tmp_path / "old")
    found = _find(tmp_path / "old", scratch, KWS._replace(kernels="xnnpack"))
    assert (found.artifact, _sizes(found)["size"]) == (None, len(small))
    assert found.before.lacking == "it was built for reference kernels, this for xnnpack"


def test_threads_do_not_matter_since_both_are_measured_with_the_same(
    small: bytes, tmp_path: Path, scratch: Path
) -> None:
    bench = msgspec.structs.replace(plan().bench, threads=4)
    _publish(small, tmp_path / "old", plan=plan(bench=bench))
    assert _find(tmp_path / "old", scratch).artifact is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [(None, "kws.tflite beside {} is not there"), (POINTER, "kws.tflite beside {} is a git-lfs pointer")],
)
def test_an_artifact_that_is_absent_leaves_what_was_recorded(
    small: bytes, tmp_path: Path, scratch: Path, data: bytes | None, reason: str
) -> None:
    made = _publish(small, tmp_path / "old")
    artifact = tmp_path / "old" / "kws.tflite"
    artifact.unlink() if data is None else artifact.write_bytes(data)
    found = _find(tmp_path / "old", scratch)
    assert found.before.measurements == made.measurements
    assert (found.artifact, found.before.sha256) == (None, made.artifact.sha256)
    assert found.before.lacking.startswith(reason.format(tmp_path / "old" / "manifest.json"))


def test_an_artifact_that_is_another_is_no_comparison(
    small: bytes, other: bytes, tmp_path: Path, scratch: Path
) -> None:
    _publish(small, tmp_path / "old")
    (tmp_path / "old" / "kws.tflite").write_bytes(other)
    assert "kws.tflite is not the file that" in _lacking(_find(tmp_path / "old", scratch))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"schema_version": 1}', b"[]", b'{"schema_version": 9}'])
def test_a_manifest_that_is_damaged_or_newer_is_no_comparison(
    small: bytes, tmp_path: Path, scratch: Path, text: bytes
) -> None:
    _publish(small, tmp_path / "old" / "mcu")
    (tmp_path / "old" / "mcu" / "manifest.json").write_bytes(text)
    assert f"{tmp_path}/old/mcu/manifest.json cannot be read: " in _lacking(_find(tmp_path / "old", scratch))


def test_a_damaged_manifest_of_another_target_does_no_harm(small: bytes, tmp_path: Path, scratch: Path) -> None:
    _publish(small, tmp_path / "old" / "mcu")
    _publish(small, tmp_path / "old" / "arm64")
    (tmp_path / "old" / "arm64" / "manifest.json").write_bytes(b"{")
    assert _find(tmp_path / "old", scratch).artifact == tmp_path / "old" / "mcu" / "kws.tflite"
    assert "arm64/manifest.json cannot be read" in _lacking(_find(tmp_path / "old", scratch, Wanted("kws", "arm64")))


@pytest.mark.parametrize("name", ["", "..", "/", "../../kws.tflite"])
def test_a_manifest_that_names_no_file_leads_nowhere(small: bytes, tmp_path: Path, scratch: Path, name: str) -> None:
    artifact = msgspec.structs.replace(describe("", small), path=name)
    _publish(small, tmp_path / "old" / "mcu", artifact=artifact)
    (tmp_path / "old" / "mcu" / "kws.tflite").unlink()
    found = _find(tmp_path / "old" / "mcu", scratch)
    assert found.artifact is None
    assert "is not there" in found.before.lacking


@pytest.mark.parametrize("data", [b"TFL3", b"", b"\0" * 500])
def test_a_damaged_file_is_no_comparison_and_is_not_run(tmp_path: Path, scratch: Path, data: bytes) -> None:
    (tmp_path / "any.tflite").write_bytes(data)
    assert "any.tflite" in _lacking(_find(tmp_path / "any.tflite", scratch, Wanted()))


def test_a_doubtful_file_is_no_comparison_though_its_manifest_fits(small: bytes, tmp_path: Path, scratch: Path) -> None:
    _publish(small[:-600], tmp_path / "old")
    assert "kws.tflite" in _lacking(_find(tmp_path / "old", scratch))


def test_a_pointer_that_is_named_itself_is_no_comparison(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "any.tflite").write_bytes(POINTER)
    assert "git-lfs pointer" in _lacking(_find(tmp_path / "any.tflite", scratch))


def test_an_empty_folder_is_no_comparison(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert _lacking(_find(tmp_path / "empty", scratch)) == f"{tmp_path}/empty holds no manifest.json"


@pytest.mark.parametrize("named", ["", "-n", "--upload-pack=touch x", "git:", "git:--help", "a\0b", "a\nb"])
def test_what_can_be_neither_path_nor_ref_is_wrong_usage(scratch: Path, named: str) -> None:
    with pytest.raises(UsageError, match="cannot be a baseline"):
        _find(named, scratch)


# Commits of real repositories.


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _commit(top: Path, message: str) -> str:
    _git(top, "add", "-A", "-f")
    _git(top, "commit", "-q", "-m", message)
    return _git(top, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path, small: bytes, other: bytes) -> Path:
    """Two releases of what is built into dist, the first tagged; the working folder holds the second."""
    top = tmp_path / "repo"
    top.mkdir()
    _git(top, "init", "-q", "-b", "main")
    _publish(small, top / "dist" / "mcu")
    _publish(small, top / "dist" / "arm64", target="arm64")
    _commit(top, "first")
    _git(top, "tag", "-a", "-m", "one", "v1.0")
    _publish(other, top / "dist" / "mcu")
    _commit(top, "second")
    return top


@pytest.mark.parametrize(
    "named", ["v1.0", "HEAD~1", "main~1", "git:v1.0", "v1.0:dist", "v1.0:dist/mcu", "v1.0:./dist/mcu/manifest.json"]
)
def test_a_ref_names_what_its_commit_holds_where_builds_go(repo: Path, scratch: Path, small: bytes, named: str) -> None:
    found = _find(named, scratch, out=repo / "dist")
    assert (found.before.sha256, found.before.lacking) == (hashing.of_bytes(small), "")
    assert found.artifact is not None
    assert found.artifact.is_relative_to(scratch)
    assert found.artifact.read_bytes() == small
    assert found.manifest is not None
    assert found.manifest.target == "mcu"


def test_a_file_of_a_commit_is_named_by_its_path(repo: Path, scratch: Path, small: bytes) -> None:
    found = _find("v1.0:dist/mcu/kws.tflite", scratch, Wanted(), out=repo / "dist")
    assert found.artifact is not None
    assert found.artifact.read_bytes() == small
    assert found.manifest is not None


def test_nothing_in_the_repository_changes(repo: Path, scratch: Path) -> None:
    index = (repo / ".git" / "index").read_bytes()
    _find("v1.0", scratch, out=repo / "dist")
    assert _git(repo, "status", "--porcelain") == ""
    assert (repo / ".git" / "index").read_bytes() == index


def test_a_folder_that_is_not_built_yet_still_tells_the_repository(repo: Path, scratch: Path, small: bytes) -> None:
    shutil.rmtree(repo / "dist")
    assert _find("v1.0", scratch, out=repo / "dist").before.sha256 == hashing.of_bytes(small)
    assert "holds no manifest.json at other/deep" in _lacking(_find("v1.0", scratch, out=repo / "other" / "deep"))


def test_the_top_of_a_repository_may_be_built_into(tmp_path: Path, scratch: Path, small: bytes) -> None:
    _git(tmp_path, "init", "-q", "top")
    _publish(small, tmp_path / "top" / "mcu")
    _commit(tmp_path / "top", "first")
    assert _find("HEAD", scratch, out=tmp_path / "top").before.sha256 == hashing.of_bytes(small)


def test_a_path_comes_before_a_ref_of_its_name_unless_git_is_said(
    repo: Path, scratch: Path, other: bytes, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(other, repo / "v1.0")
    monkeypatch.chdir(repo)
    assert _find("v1.0", scratch, out=repo / "dist").before.sha256 == hashing.of_bytes(other)
    assert _find("git:v1.0", scratch, out=repo / "dist").before.sha256 == hashing.of_bytes(small)


def test_a_manifest_alone_in_a_commit_is_compared_by_what_it_recorded(repo: Path, scratch: Path, other: bytes) -> None:
    _git(repo, "rm", "-q", "--cached", "dist/mcu/kws.tflite")
    _git(repo, "commit", "-q", "-m", "no artifact")
    found = _find("main", scratch, out=repo / "dist")
    assert (found.artifact, found.before.sha256) == (None, hashing.of_bytes(other))
    assert found.before.lacking == "kws.tflite beside main:dist/mcu/manifest.json is not there"


def test_a_pointer_in_a_commit_is_told_as_one(repo: Path, scratch: Path) -> None:
    (repo / "dist" / "mcu" / "kws.tflite").write_bytes(POINTER)
    _commit(repo, "large files elsewhere")
    assert "is a git-lfs pointer" in _find("main", scratch, out=repo / "dist").before.lacking


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("v9.9", "there is no v9.9, and git knows no commit v9.9"),
        ("git:v9.9", "git knows no commit v9.9"),
        ("v1.0:nowhere", "v1.0 ("),
        ("v1.0:/etc", ""),
        ("v1.0:../..", ""),
        ("v1.0:dist/mcu/none.tflite", "there is no none.tflite in it"),
        (":dist", ""),
    ],
)
def test_a_ref_that_leads_to_nothing_is_no_comparison(repo: Path, scratch: Path, named: str, reason: str) -> None:
    lacking = _lacking(_find(named, scratch, out=repo / "dist"))
    assert reason in lacking
    assert lacking


def test_outside_of_a_repository_a_ref_is_no_comparison(tmp_path: Path, scratch: Path) -> None:
    assert "lies in no git repository" in _lacking(_find("v1.0", scratch, out=tmp_path / "dist"))


def test_without_git_a_ref_is_no_comparison(repo: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(scratch))
    assert "git is not installed" in _lacking(_find("v1.0", scratch, out=repo / "dist"))


def test_a_repositorys_own_programs_are_not_run(repo: Path, scratch: Path) -> None:
    told = repo / "told"
    script = repo / ".git" / "program"
    script.write_text(f"#!/bin/sh\ntouch {told}\ncat\n")
    script.chmod(0o755)
    for key in ("core.pager", "core.fsmonitor", "diff.all.textconv", "filter.all.smudge"):
        _git(repo, "config", key, str(script))
    (repo / ".gitattributes").write_text("* diff=all filter=all\n")
    told.unlink(missing_ok=True)  # git itself may have run it for the configuration
    _find("v1.0", scratch, out=repo / "dist")
    repository.commit(repo)
    assert not told.exists()


def test_a_repository_that_a_hook_names_is_not_taken_for_the_users(
    repo: Path, tmp_path: Path, scratch: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init", "-q", "hooked")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "hooked" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "hooked" / ".git" / "index"))
    assert _find("v1.0", scratch, out=repo / "dist").before.sha256 == hashing.of_bytes(small)


def _impostor(folder: Path, script: str) -> None:
    """A git that does what the test wants."""
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_git_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    _impostor(tmp_path, f"sleep 600 & echo $! > {started}.new; mv {started}.new {started}; sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # A slow machine gets further with more time: it is to be ended while what it started runs.
    for time_s in (0.2, 2.0, 20.0, PATIENCE_S):
        with pytest.raises(GitError, match=f"git was not done after {time_s:g} s"):
            repository._run(tmp_path, "status", time_s=time_s)
        if started.exists():
            break
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(int(started.read_text()))
        if left.status() != psutil.STATUS_ZOMBIE:
            left.wait(PATIENCE_S)


def test_a_git_that_never_stops_printing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _impostor(tmp_path, "yes")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GitError, match="git gave more than 1,000 bytes"):
        repository._run(tmp_path, "status", most_bytes=1000)


def test_a_ref_is_not_taken_for_an_option(repo: Path) -> None:
    for ref in ("-h", "--all", "--exec-path=/tmp", "a\nb"):
        with pytest.raises(GitError, match="is no git ref"):
            repository.resolve(repo, ref)
