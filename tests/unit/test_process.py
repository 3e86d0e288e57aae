from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from children import Number, Text

from edgebuild.errors import EdgebuildError, StepError, UnavailableError, UsageError
from edgebuild.process import Child, ChildBugError, ChildDiedError, Limits
from tests.conftest import PATIENCE_S

HERE = str(Path(__file__).parent)
ENOUGH = Limits(time_s=PATIENCE_S, memory_bytes=10**9)
# A parent that starts a child which sleeps, and tells the child's process number.
_PARENT = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from children import Text
from edgebuild.process import Child, Limits
child = Child("children", "the sleeper", Path(sys.argv[2]), (sys.argv[1],))
child.call("sleep", Text(), Limits(time_s=600, memory_bytes=10**9), lambda text: print(text, flush=True))
"""


@pytest.fixture(autouse=True)
def _jobs_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with Child("children", "the worker", tmp_path / "log") as started:
        yield started


def _call(child: Child, name: str, job: msgspec.Struct | None = None, limits: Limits = ENOUGH) -> Any:
    answer = child.call(name, job if job is not None else Text(), limits, lambda _: None)
    return msgspec.json.decode(answer)


def _is_gone(pid: int) -> bool:
    """Whether a process ends within the time that a busy machine may need."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_job_is_answered_with_its_result(child: Child) -> None:
    assert _call(child, "echo", Text("grüße\n\0")) == {"text": "grüße\n\0"}


def test_a_job_runs_in_another_process_that_lives_from_job_to_job(child: Child) -> None:
    first, second = _call(child, "pid", Number()), _call(child, "pid", Number())
    assert first == second
    assert first["number"] != os.getpid()


def test_large_jobs_and_results_go_through(child: Child) -> None:
    text = "x" * 3_000_000
    assert _call(child, "echo", Text(text)) == {"text": text}


def test_progress_is_told_in_order_before_the_result(child: Child) -> None:
    told: list[str] = []
    answer = child.call("count", Number(3), ENOUGH, told.append)
    assert told == ["1 of 3", "2 of 3", "3 of 3"]
    assert msgspec.json.decode(answer) == {"number": 3}


@pytest.mark.parametrize(
    ("kind", "error"), [("usage", UsageError), ("step", StepError), ("unavailable", UnavailableError)]
)
def test_an_expected_failure_comes_back_as_its_class(child: Child, kind: str, error: type[EdgebuildError]) -> None:
    with pytest.raises(error) as caught:
        _call(child, "refuse", Text(kind))
    assert type(caught.value) is error
    assert (caught.value.what, caught.value.why, caught.value.remedy) == ("what happened", "why it did", "what to do")


def test_a_bug_comes_back_with_its_traceback(child: Child) -> None:
    with pytest.raises(ChildBugError, match=r"(?s)Traceback.*_mistake.*ZeroDivisionError: the very cause"):
        _call(child, "mistake", Text("the very cause"))


def test_an_unknown_job_is_a_bug(child: Child) -> None:
    with pytest.raises(ChildBugError, match="KeyError: 'no such job'"):
        _call(child, "no such job")


@pytest.mark.parametrize(("name", "message"), [("no file", "/nonexistent/file"), ("no memory", "not enough memory")])
def test_trouble_of_the_system_is_a_failed_step(child: Child, name: str, message: str) -> None:
    with pytest.raises(StepError, match=message):
        _call(child, name)


def test_a_child_goes_on_after_failures_and_bugs(child: Child) -> None:
    pid = _call(child, "pid", Number())
    for name, job in (("refuse", Text("step")), ("mistake", Text())):
        with pytest.raises((StepError, ChildBugError)):
            _call(child, name, job)
    assert _call(child, "pid", Number()) == pid


def test_a_crash_is_told_with_its_signal_and_the_last_words(child: Child) -> None:
    with pytest.raises(ChildDiedError, match=r"the worker crashed \(signal SIGABRT\)") as caught:
        _call(child, "abort", Text("terrible assertion"))
    assert caught.value.why.splitlines()[:2] == ["a line on the way", "terrible assertion"]


def test_a_segmentation_fault_is_told(child: Child) -> None:
    with pytest.raises(ChildDiedError, match="SIGSEGV"):
        _call(child, "segfault")


def test_a_child_that_leaves_is_told_with_its_exit_code(child: Child) -> None:
    with pytest.raises(ChildDiedError, match=r"the worker crashed \(exit code 7\)"):
        _call(child, "leave", Number(7))


def test_a_crash_is_a_failed_step_and_the_next_job_gets_a_new_process(child: Child) -> None:
    with pytest.raises(StepError):
        _call(child, "segfault")
    assert _call(child, "echo", Text("again")) == {"text": "again"}


def test_a_child_that_takes_too_long_is_ended(child: Child) -> None:
    pid = _call(child, "pid", Number())["number"]
    with pytest.raises(ChildDiedError, match="the worker was ended: it was not done after 300 ms") as caught:
        _call(child, "sleep", limits=Limits(time_s=0.3, memory_bytes=10**9))
    assert "[limits]" in caught.value.remedy
    assert _is_gone(pid)


def test_a_child_that_takes_too_much_memory_is_ended(child: Child) -> None:
    pid = _call(child, "pid", Number())["number"]
    with pytest.raises(ChildDiedError, match=r"the worker was ended: it took .*, more than its 200 MB"):
        _call(child, "eat", Number(300_000_000), Limits(time_s=PATIENCE_S, memory_bytes=200_000_000))
    assert _is_gone(pid)


def test_what_a_child_prints_does_no_harm_and_is_in_the_log(child: Child, tmp_path: Path) -> None:
    assert _call(child, "shout", Number(20_000)) == {"number": 20_000}
    _call(child, "echo")
    assert (tmp_path / "log").stat().st_size > 20_000


def test_a_module_beside_the_configuration_is_found(tmp_path: Path) -> None:
    (tmp_path / "users_own.py").write_text("WORD = 'found'")
    with Child("children", "the worker", tmp_path / "log", (str(tmp_path),)) as child:
        assert _call(child, "import", Text("users_own")) == {"text": "found"}


def test_a_users_module_does_not_hide_one_of_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('hidden')")
    with (
        Child("children", "the worker", tmp_path / "log", (str(tmp_path),)) as child,
        pytest.raises(ChildBugError, match="module 'colorsys' has no attribute 'WORD'"),
    ):
        _call(child, "import", Text("colorsys"))


def test_a_module_in_the_working_folder_does_not_hide_one_of_the_standard_library(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ctypes.py").write_text("raise RuntimeError('hidden')")
    monkeypatch.chdir(tmp_path)
    assert _call(child, "echo", Text("fine")) == {"text": "fine"}


def test_closing_leaves_no_process_behind_not_even_those_it_started(tmp_path: Path) -> None:
    with Child("children", "the worker", tmp_path / "log") as child:
        pids = [_call(child, "pid", Number())["number"], _call(child, "start another")["number"]]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert all(_is_gone(pid) for pid in pids)
    child.close()


def test_a_crash_leaves_no_process_behind_that_the_child_started(child: Child) -> None:
    pid = _call(child, "start another")["number"]
    with pytest.raises(ChildDiedError):
        _call(child, "segfault")
    assert _is_gone(pid)


def test_a_child_that_was_never_asked_never_starts(tmp_path: Path) -> None:
    with Child("children", "the worker", tmp_path / "log"):
        pass
    assert not (tmp_path / "log").exists()


def test_a_table_of_jobs_that_is_not_there_is_told_with_the_reason(tmp_path: Path) -> None:
    with (
        Child("no_such_table", "the worker", tmp_path / "log") as child,
        pytest.raises(ChildDiedError, match=r"(?s)exit code 1.*No module named 'no_such_table'"),
    ):
        _call(child, "echo")


def test_a_child_whose_parent_is_killed_ends_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PARENT, HERE, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(parent.pid, signal.SIGKILL)
    assert _is_gone(pid)
