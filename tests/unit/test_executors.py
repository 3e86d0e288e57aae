"""What all executors promise, and what those that do several actions at a time promise beside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sessions

from edgebuild.core.action import HOST_TIMER
from edgebuild.core.progress import Silence
from edgebuild.errors import StepError
from edgebuild.execution import alone, children, session as executing
from edgebuild.execution.children import Children
from edgebuild.execution.executor import CancelledError, Executor
from edgebuild.execution.fake import Fake
from edgebuild.execution.inline import Inline
from edgebuild.execution.pool import Pool
from edgebuild.execution.session import Session
from edgebuild.execution.store import Store
from edgebuild.process import ChildBugError, ChildDiedError
from tests.unit import action_children
from tests.unit.action_children import ACT, FRESH, HEAVY, Act, Acted

_TABLE = "tests.unit.action_children"
Make = Callable[[Children], Executor]
MAKERS: dict[str, Make] = {
    "inline": Inline,
    "pool": lambda stock: Pool(stock, 3, 10**12),
    "fake": lambda _: Fake({"act": lambda job, _: action_children._act(job, lambda text: None)}),
}


class Heard(Silence):
    """What a listener was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_started(self, title: str) -> None:
        self.lines.append(f"started {title}")

    def step_progressed(self, title: str, text: str) -> None:
        self.lines.append(f"{title}: {text}")

    def step_failed(self, title: str) -> None:
        self.lines.append(f"failed {title}")

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        self.lines.append(f"{'kept' if reused else 'done'} {title}")


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executing, "KINDS", action_children.KINDS)


@contextmanager
def _session(folder: Path, make: Make, heard: Heard | None = None) -> Iterator[Session]:
    store = Store(folder / "store")
    with store.workspace() as logs:
        executor = make(Children(logs, sessions.LIMITS, (str(sessions.ROOT),), _TABLE))
        try:
            yield Session(store, heard or Silence(), executor, logs)
        finally:
            executor.close()


def _act(text: str, kind: Any = ACT, **fields: Any) -> Any:
    return kind.action(Act(text=text, **fields))


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_actions_are_done_once_read_what_others_left_and_are_found_again(make: Make, tmp_path: Path) -> None:
    heard, again = Heard(), Heard()
    with _session(tmp_path, make, heard) as session:
        first = session.run(_act("one "))
        second = session.run(_act("two", after=str(first.ref("text"))))
        assert second.result.text == "one two"
        assert session.path(second.ref("text")).read_text() == "one two"
        assert session.run(_act("one ")) == first
    assert [line for line in heard.lines if ":" not in line] == [
        *("started write one ", "done write one ", "started write two", "done write two"),
    ]
    with _session(tmp_path, make, again) as session:
        assert session.run(_act("two", after=str(first.ref("text")))) == second
        assert session.spent["act"] >= 0
    assert again.lines == ["kept write two"]


@pytest.mark.parametrize("make", [MAKERS["inline"], MAKERS["pool"]], ids=["inline", "pool"])
def test_what_an_action_ends_with_is_raised_and_leaves_the_others_alone(make: Make, tmp_path: Path) -> None:
    heard = Heard()
    with _session(tmp_path, make, heard) as session:
        failing = [session.submit(_act("bad", ends=how)) for how in ("refuse", "raise", "crash")]
        good = session.submit(_act("good"))
        kinds: list[type[BaseException]] = [StepError, ChildBugError, ChildDiedError]
        for future, kind in zip(failing, kinds, strict=True):
            assert type(future.exception(60)) is kind
        assert good.result(60).result.text == "good"
        # What failed may be asked for once more.
        assert isinstance(session.submit(_act("bad", ends="refuse")).exception(60), StepError)
    assert heard.lines.count("failed write bad") == 4
    assert heard.lines.count("started write bad") == 4


@pytest.mark.parametrize("make", [MAKERS["inline"], MAKERS["pool"]], ids=["inline", "pool"])
def test_a_child_serves_many_actions_unless_its_tool_leaves_traces(make: Make, tmp_path: Path) -> None:
    with _session(tmp_path, make) as session:
        shared = {session.run(_act(f"shared {number}")).result.process for number in range(3)}
        fresh = {session.run(_act(f"fresh {number}", FRESH)).result.process for number in range(3)}
    assert len(shared) == 1
    assert len(fresh) == 3
    assert shared.isdisjoint(fresh)


@pytest.mark.parametrize("make", [MAKERS["inline"], MAKERS["pool"]], ids=["inline", "pool"])
def test_a_child_that_ends_in_an_action_after_others_is_lost_and_the_action_done_again(
    make: Make, tmp_path: Path
) -> None:
    with _session(tmp_path, make) as session:
        before = session.run(_act("before")).result.process
        done = session.run(_act("after all", ends="crash once", note=str(tmp_path / "note")))
        assert (done.result.text, done.result.process == before) == ("after all", False)
        assert set(done.sha256) == {"text"}  # what the first try left is gone
        # In a child that did nothing before it is its own fault.
        with pytest.raises(ChildDiedError, match="the worker crashed"):
            session.run(_act("at once", FRESH, ends="crash once", note=str(tmp_path / "other")))


@pytest.mark.parametrize("make", [MAKERS["inline"], MAKERS["pool"]], ids=["inline", "pool"])
def test_a_function_of_unknown_source_is_called_once_a_session(make: Make, tmp_path: Path) -> None:
    processes = []
    for _ in range(2):
        with _session(tmp_path, make) as session:
            first, second = (session.run(_act("own", is_known=False)) for _ in range(2))
            assert first == second
            processes.append(first.result.process)
    assert len(set(processes)) == 2


def _overlap(one: Acted, other: Acted) -> bool:
    return one.began_s < other.ended_s and other.began_s < one.ended_s


@pytest.mark.parametrize("make", [MAKERS["pool"]], ids=["pool"])
def test_what_is_timed_or_takes_all_cores_is_done_alone_and_all_else_beside_others(make: Make, tmp_path: Path) -> None:
    slow = {"ends": "take a while"}
    with _session(tmp_path, make) as session:
        asked = {
            "a": session.submit(_act("a", **slow)),
            "b": session.submit(_act("b", **slow)),
            "timed": session.submit(_act("timed", alone=HOST_TIMER, **slow)),
            "trained": session.submit(_act("trained", all_cores=True, **slow)),
            "board": session.submit(_act("board", alone="board", **slow)),
            "board too": session.submit(_act("board too", alone="board", **slow)),
        }
        done = {name: future.result(60).result for name, future in asked.items()}
    assert _overlap(done["a"], done["b"]) or _overlap(done["a"], done["board"]) or _overlap(done["b"], done["board"])
    for name in ("timed", "trained"):
        assert not [other for other in done if other != name and _overlap(done[name], done[other])]
    assert not _overlap(done["board"], done["board too"])


def test_actions_wait_for_memory_and_one_is_done_whatever_it_takes(tmp_path: Path) -> None:
    with _session(tmp_path, lambda stock: Pool(stock, 3, 10**6)) as session:
        asked = [session.submit(_act(f"{number}", ends="take a while")) for number in range(3)]
        done = [future.result(60).result for future in asked]
    assert not any(_overlap(one, other) for one in done for other in done if one != other)


@pytest.mark.parametrize(("starts_s", "processes"), [(600.0, 1), (0.0, 3)])
def test_another_child_of_tensorflow_is_started_only_where_the_one_at_work_takes_longer_than_that(
    starts_s: float, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_TENSORFLOW_STARTS_S", starts_s)
    with _session(tmp_path, MAKERS["pool"]) as session:
        asked = [session.submit(_act(f"{number}", HEAVY, ends="take a while")) for number in range(3)]
        assert len({future.result(60).result.process for future in asked}) == processes


@pytest.mark.parametrize("make", [MAKERS["pool"]], ids=["pool"])
def test_one_action_that_two_threads_ask_for_is_done_once(make: Make, tmp_path: Path) -> None:
    heard = Heard()
    with _session(tmp_path, make, heard) as session:
        done = session.each(lambda _: session.run(_act("both", ends="take a while")), [1, 2, 3])
    assert done[0] == done[1] == done[2]
    assert heard.lines.count("started write both") == 1


@pytest.mark.parametrize("make", [MAKERS["pool"]], ids=["pool"])
def test_cancelling_ends_what_is_under_way_and_what_waits(make: Make, tmp_path: Path) -> None:
    heard = Heard()
    with _session(tmp_path, make, heard) as session:
        futures = [session.submit(_act(f"long {number}", ends="sleep")) for number in range(5)]
        while "long" not in " ".join(heard.lines):
            time.sleep(0.01)
    for future in futures:
        assert isinstance(future.exception(60), CancelledError)


@pytest.mark.parametrize("make", [MAKERS["pool"]], ids=["pool"])
def test_the_timer_of_this_machine_is_held_against_other_sessions(make: Make, tmp_path: Path) -> None:
    said: list[str] = []
    with alone.held((HOST_TIMER,), said.append):
        with _session(tmp_path, make) as session:
            timed = session.submit(_act("timed", alone=HOST_TIMER))
            assert session.run(_act("untimed", FRESH)) or True
            assert not timed.done()
            with pytest.raises(TimeoutError):
                timed.result(0.3)
        assert isinstance(timed.exception(60), CancelledError)
    with _session(tmp_path, make) as session:
        assert session.run(_act("timed", alone=HOST_TIMER)).result.text == "timed"


def test_a_lock_is_no_link_and_its_folder_may_be_anybodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone.tempfile, "gettempdir", lambda: str(tmp_path))
    with alone.held(("board",), lambda _: None):
        (lock,) = tmp_path.iterdir()
    lock.unlink()
    kept = tmp_path / "kept"
    kept.write_text("mine")
    lock.symlink_to(kept)
    with pytest.raises(Exception, match="cannot be opened"), alone.held(("board",), lambda _: None):
        pass
    assert kept.read_text() == "mine"
    # A pipe keeps apart as a file does; nobody waits for someone to write to it.
    lock.unlink()
    os.mkfifo(lock)
    with alone.held(("board",), lambda _: None):
        assert alone.try_to_hold(("board",)) == "board"


REAL = pytest.mark.parametrize("make", [MAKERS["inline"], MAKERS["pool"]], ids=["inline", "pool"])


@REAL
def test_a_child_that_is_gone_is_seen_though_a_process_of_its_own_holds_its_pipes(make: Make, tmp_path: Path) -> None:
    with (
        _session(tmp_path, make) as session,
        pytest.raises(ChildDiedError, match=r"the worker crashed \(exit code 3\)"),
    ):
        session.run(_act("forked", ends="leave a process"))


@REAL
def test_a_process_that_called_functions_of_the_user_serves_nothing_else(make: Make, tmp_path: Path) -> None:
    with _session(tmp_path, make) as session:
        own = session.run(_act("own", is_known=False)).result.process
        after = session.run(_act("after")).result.process
        assert own != after
        # It may have served before.
        assert session.run(_act("own again", is_known=False)).result.process == after


@REAL
def test_what_is_made_of_a_file_that_changes_meanwhile_is_not_kept(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text("given")
    with _session(tmp_path, make) as session:
        action = _act(" read", after=str(session.give_file(file)), ends="change", note=str(file))
        with pytest.raises(StepError, match="was changed while it was read"):
            session.run(action)
    file.write_text("given")
    with _session(tmp_path, make) as session:
        assert session.run(_act(" read", after=str(session.give_file(file)))).result.text == "given read"
