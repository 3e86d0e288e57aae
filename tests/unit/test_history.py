"""The history: what is kept of each measurement, and by whom it can be spoilt."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from making import figure
from recorded_builds import CORE, HERE, A, B, C, append, build, counted, latency

from edgebuild import history, repository
from edgebuild.core.budget import Unit
from edgebuild.core.measurement import Mode
from edgebuild.core.record import Commit
from edgebuild.errors import StepError, UsageError
from tests.conftest import PATIENCE_S


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of this test's own."""
    path = tmp_path / "kept" / "history.sqlite"
    monkeypatch.setenv(history.VARIABLE, str(path))
    monkeypatch.setattr(repository, "_STATUS_TIME_S", PATIENCE_S)
    return path


def test_artifacts_of_one_name_in_two_projects_are_two(file: Path) -> None:
    one, other = (Commit("a" * 40, project=folder) for folder in ("/home/ann/kws", "/home/ann/other"))
    append(one, 1000, latency(1e-3))
    append(other, 2000, latency(1e-3))
    append(one, 1000, latency(1e-3))
    sizes = {
        project: [record.sha256 for record in history.read("kws", project=project)]
        for project in ("/home/ann/kws", "/home/ann/other", "")
    }
    assert [len(found) for found in sizes.values()] == [1, 1, 2], "the last of its own project is compared with"
    assert not set(sizes["/home/ann/kws"]) & set(sizes["/home/ann/other"])
    with pytest.raises(UsageError, match="nothing is recorded of kws in /home/ann/third") as refused:
        history.read("kws", project="/home/ann/third")
    assert "/home/ann/kws, /home/ann/other" in refused.value.why
    assert "--project" in refused.value.remedy


def test_a_history_of_before_projects_is_read_and_brought_up(file: Path) -> None:
    append(Commit("a" * 40), 1000, latency(1e-3))
    with sqlite3.connect(file) as database:
        database.execute("ALTER TABLE builds DROP COLUMN project")
        database.execute("PRAGMA user_version = 1")
    assert [record.project for record in history.read("kws", project="/home/ann/kws")] == [""]
    append(Commit("b" * 40, project="/home/ann/kws"), 1000, latency(1e-3))
    assert [record.project for record in history.read("kws", project="/home/ann/kws")] == ["", "/home/ann/kws"]
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_project_is_its_repository_with_all_worktrees_or_the_folder(tmp_path: Path) -> None:
    bare, top, tree = tmp_path / "bare", tmp_path / "top", tmp_path / "tree"
    for folder in (bare, top / "below"):
        folder.mkdir(parents=True)
    git = ["git", "-C", str(top), "-c", "user.name=S", "-c", "user.email=s@example.com"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"], ["worktree", "add", "-q", str(tree)]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    assert repository.project(bare) == str(bare.resolve())
    assert {repository.project(folder) for folder in (top, top / "below", tree)} == {str(top.resolve())}


def test_a_build_is_kept_with_everything_that_tells_its_figures_apart() -> None:
    timed = latency(2e-4, settings={"threads": 4})
    accuracy = figure("accuracy", 0.914, where="host", kernels="reference")
    append(Commit("a" * 40, dirty=True), 48_480, accuracy, timed)
    (record,) = history.read("kws")
    assert (record.name, record.target, record.commit, record.dirty) == ("kws", "mcu", "a" * 40, True)
    assert (record.metric, record.evaluation_sha256, record.edgebuild) == ("accuracy", "23" * 32, "0.1.0")
    assert record.sha256 == f"{48_480:064x}"
    assert record.time.endswith("+00:00")
    kept = {found.subject: found for found in record.figures}
    assert kept["size"].value == 48_480
    assert kept["latency"].interval == timed.intervals["median"]
    assert (kept["latency"].where, kept["latency"].machine) == ("host", HERE)
    assert (kept["latency"].kernels, kept["latency"].threads, kept["latency"].mode) == ("xnnpack", 4, "measured")


def test_the_schema_is_the_one_that_is_documented(file: Path) -> None:
    append(A, 1000, counted(6e6))
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        found = database.execute(
            "SELECT name, target, commit_sha, dirty, subject, value, unit, mode, place FROM builds "
            "JOIN figures ON figures.build = builds.id ORDER BY figures.rowid"
        ).fetchall()
    database.close()
    assert found == [
        ("kws", "mcu", "a" * 40, 0, "size", 1000.0, "bytes", "measured", "file"),
        ("kws", "mcu", "a" * 40, 0, "instructions", 6e6, "count", "emulated", CORE),
    ]


def test_builds_are_kept_in_the_order_in_which_they_were_made() -> None:
    for commit, size_bytes in ((A, 3), (B, 2), (C, 1)):
        append(commit, size_bytes)
    assert [record.commit for record in history.read("kws")] == ["a" * 40, "b" * 40, "c" * 40]


def test_a_build_in_which_nothing_changed_is_kept_once() -> None:
    for commit in (A, A, B, B, A):
        append(commit, 1000, latency(1e-3))
    assert [record.commit[0] for record in history.read("kws")] == ["a", "b", "a"]


@pytest.mark.parametrize(
    "changed", [{"latency": latency(1.1e-3)}, {"size_bytes": 1001}, {"commit": A._replace(dirty=True)}], ids=str
)
def test_any_change_is_another_record(changed: dict[str, Any]) -> None:
    append(A, 1000, latency(1e-3))
    append(changed.get("commit", A), changed.get("size_bytes", 1000), changed.get("latency", latency(1e-3)))
    assert len(history.read("kws")) == 2


def test_targets_are_kept_apart() -> None:
    append(A, 1000)
    append(A, 2000, target="arm64")
    append(A, 1000)
    assert [record.target for record in history.read("kws")] == ["mcu", "arm64"]
    assert [record.target for record in history.read("kws", "arm64")] == ["arm64"]


def test_an_artifact_that_was_measured_by_itself_is_kept() -> None:
    assert history.append_figures("kws", "", "ab" * 32, [latency(1e-3)], Commit()) == ""
    append(A, 1000)
    assert history.append_figures("kws", "", "ab" * 32, [latency(1e-3)], Commit()) == ""
    first, second = history.read("kws")
    assert (first.target, first.commit, first.dirty, second.target) == ("", "", None, "mcu")


def test_what_is_not_a_number_is_left_out_and_a_score_is_kept_in_its_first_unit() -> None:
    share = figure("accuracy", 0.5, where="host", kernels="xnnpack")
    number = figure("accuracy", 0.5, where="host", kernels="xnnpack", unit=Unit.NUMBER)
    emulated = figure("accuracy", 0.5, where=CORE, kernels="xnnpack", mode=Mode.EMULATED)
    append(A, 1000, share, number, emulated, figure("accuracy_drop", math.nan, where="host"))
    (record,) = history.read("kws")
    kept = [(found.subject, found.unit, found.where) for found in record.figures]
    assert kept == [("size", "bytes", "file"), ("accuracy", "share", "host"), ("accuracy", "share", CORE)]


def test_history_may_be_off(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(history.VARIABLE, "off")
    append(A, 1000)
    assert not file.exists()
    with pytest.raises(UsageError, match="there is no history yet"):
        history.read("kws")


def test_without_the_variable_it_lies_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(history.VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = history.path()
    assert found is not None
    assert found.is_relative_to(tmp_path)
    assert found.name == "history.sqlite"


# What can be wrong with the file: a build goes on and says so.


def _refused() -> str:
    said = history.append(build(1000), A)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    "content", [b"this is no database, whatever its name" * 100, b"SQLite format 3\0" + b"\1" * 9000]
)
def test_a_damaged_history_is_told_in_one_sentence_and_left_as_it_is(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert _refused().startswith(f"not recorded in the history at {file}: ")
    assert file.read_bytes() == content
    with pytest.raises(StepError, match="cannot be read"):
        history.read("kws")


def test_a_history_that_was_cut_off_is_told(file: Path) -> None:
    for number in range(60):
        append(A, 1000 + number, latency(1e-3))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert _refused()
    with pytest.raises(StepError, match="cannot be read"):
        history.read("kws")


def test_a_history_of_a_newer_edgebuild_is_left_alone(file: Path) -> None:
    append(A, 1000)
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 3")
    database.close()
    assert "it was written by a newer edgebuild" in _refused()
    with pytest.raises(StepError) as caught:
        history.read("kws")
    assert "newer edgebuild" in caught.value.why


def test_another_programs_database_is_not_written_into(file: Path) -> None:
    file.parent.mkdir()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE notes (text)")
    database.close()
    assert "it is no history of edgebuild" in _refused()
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]
    database.close()


@pytest.mark.parametrize("change", ["UPDATE figures SET unit = 'ells'", "UPDATE figures SET value = 'many'"])
def test_a_record_that_was_tampered_with_is_not_shown(file: Path, change: str) -> None:
    append(A, 1000)
    with sqlite3.connect(file) as database:
        database.execute(change)
    database.close()
    with pytest.raises(StepError, match="cannot be read"):
        history.read("kws")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "history.sqlite", tmp_path, Path("/proc/none/history.sqlite")):
        monkeypatch.setenv(history.VARIABLE, str(place))
        assert _refused().startswith("not recorded")


def test_a_history_that_may_only_be_read_is_told_and_shown(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(A, 1000)
    opened = history._opened
    # Root may write whatever the mode of a file says: SQLite itself is told that it may not.
    monkeypatch.setattr(
        history, "_opened", lambda at, *, write: opened(at, write=False) if write else opened(at, write=write)
    )
    assert "readonly" in history.append(build(2000), A)
    assert [record.figures[0].value for record in history.read("kws")] == [1000]


def test_a_history_that_another_process_holds_is_not_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(A, 1000)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    waits_s: list[float] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        waits_s.append(options["timeout"])
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", noted)
    assert "locked" in history.append(build(2000), A)
    assert max(waits_s) <= 2
    holder.execute("ROLLBACK")
    holder.close()
    assert history.append(build(2000), A) == ""


def test_many_builds_at_once_are_all_kept(file: Path) -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from recorded_builds import history, build, A\n"
        "for number in range(8):\n"
        "    said = history.append(build(1000 * int(sys.argv[1]) + number), A)\n"
        "    assert said == '', said\n"
    )
    here = str(Path(__file__).parent)

    def run(number: int) -> int:
        command_line = [sys.executable, "-c", program, str(number), here]
        return subprocess.run(command_line, check=False, timeout=PATIENCE_S).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(1, 5))) == [0, 0, 0, 0]
    sizes = {record.figures[0].value for record in history.read("kws")}
    assert sizes == {1000 * process + number for process in range(1, 5) for number in range(8)}


def test_a_process_that_is_killed_while_it_writes_leaves_the_history_sound(file: Path) -> None:
    append(A, 1000)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edgebuild import history\n"
        "with history._opened(Path(sys.argv[1]), write=True) as database:\n"
        "    database.execute(\"UPDATE builds SET name = 'spoilt'\")\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(file)], check=False).returncode == 9
    append(B, 2000)
    assert [record.commit[0] for record in history.read("kws")] == ["a", "b"]


# What the working folder is at.


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false"]
    command_line = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command_line, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    top = tmp_path / "repo"
    (top / "nets").mkdir(parents=True)
    _git(top, "init", "-q")
    (top / "nets" / "kws.keras").write_text("one")
    _git(top, "add", "-A")
    _git(top, "commit", "-q", "-m", "first")
    return top


def test_the_commit_is_of_the_first_place_that_lies_in_a_repository(repo: Path, tmp_path: Path) -> None:
    head = _git(repo, "rev-parse", "HEAD")
    for places in ([repo], [repo / "nets" / "kws.keras"], [tmp_path, repo / "absent" / "too"]):
        assert repository.commit(*places) == Commit(head, dirty=False)


def test_only_changes_to_tracked_files_make_a_folder_dirty(repo: Path) -> None:
    (repo / "notes.txt").write_text("not tracked")
    assert repository.commit(repo).dirty is False
    (repo / "nets" / "kws.keras").write_text("two")
    assert repository.commit(repo).dirty is True


def test_outside_of_a_repository_without_a_commit_and_without_git_there_is_none(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init", "-q", "fresh")
    assert repository.commit(tmp_path) == repository.commit(tmp_path / "fresh") == repository.commit() == Commit()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository.commit(repo) == Commit()


def test_a_state_that_takes_too_long_is_not_known(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "programs" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\ncase "$*" in *status*) exec sleep 600 ;; esac\nexec "{shutil.which("git")}" "$@"\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent), prepend=os.pathsep)
    monkeypatch.setattr(repository, "_STATUS_TIME_S", 0.2)
    found = repository.commit(repo)
    assert (len(found.sha), found.dirty) == (40, None)
