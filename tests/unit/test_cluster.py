"""A Ray cluster of two workers on this machine: what all executors promise, and what is its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sessions

from edgebuild import api, host
from edgebuild.errors import StepError, UsageError
from edgebuild.execution import cluster, errands, session as executing
from edgebuild.execution.children import Children
from edgebuild.execution.cluster import Cluster
from edgebuild.execution.connection import LOCAL, Connection, connected
from edgebuild.execution.executor import CancelledError, Executor
from edgebuild.process import ChildDiedError
from tests.conftest import PATIENCE_S
from tests.unit import action_children, test_executors
from tests.unit.action_children import FRESH
from tests.unit.test_executors import Heard

pytestmark = pytest.mark.slow
if not host.versions(["ray"]):  # without importing it, which edgebuild does in a way of its own
    pytest.skip("Ray is not installed: pip install 'edgebuild[cluster]'", allow_module_level=True)

_TABLE = "tests.unit.action_children"
Make = Callable[[Children], Executor]
_act, _session = test_executors._act, test_executors._session


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with connected(LOCAL, 2) as found:
        yield found


@pytest.fixture
def make(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(executing, "KINDS", action_children.KINDS)
    return lambda children: Cluster(connection, children, sessions.LIMITS, 2, 10**12, _TABLE, _TABLE)


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "promise",
    [
        test_executors.test_actions_are_done_once_read_what_others_left_and_are_found_again,
        test_executors.test_what_an_action_ends_with_is_raised_and_leaves_the_others_alone,
        test_executors.test_a_function_of_unknown_source_is_called_once_a_session,
        test_executors.test_what_is_timed_or_takes_all_cores_is_done_alone_and_all_else_beside_others,
        test_executors.test_one_action_that_two_threads_ask_for_is_done_once,
        test_executors.test_cancelling_ends_what_is_under_way_and_what_waits,
        test_executors.test_the_timer_of_this_machine_is_held_against_other_sessions,
    ],
)
def test_it_promises_what_all_executors_do(promise: Callable[[Make, Path], None], make: Make, tmp_path: Path) -> None:
    promise(make, tmp_path)


def test_children_of_workers_serve_many_actions_and_what_belongs_here_is_done_here(make: Make, tmp_path: Path) -> None:
    with _session(tmp_path, make) as session:
        there = [session.run(_act(f"there {number}")).result.process for number in range(5)]
        fresh = {session.run(_act(f"fresh {number}", FRESH)).result.process for number in range(2)}
        here = session.run(_act("here", alone="board")).result.process
        parents = {psutil.Process(process).ppid() for process in there}
        assert psutil.Process(here).ppid() == os.getpid()
    assert len(set(there)) <= 2, "one for each worker"
    assert len(fresh) == 2
    assert os.getpid() not in parents
    assert fresh.isdisjoint(there)


def test_what_a_worker_tells_arrives_while_it_works(make: Make, tmp_path: Path) -> None:
    heard, note = Heard(), tmp_path / "note"
    with _session(tmp_path, make, heard) as session:
        done = session.submit(_act("it", ends="wait", note=str(note)))
        _until(lambda: "write it: at it" in heard.lines)
        note.touch()
        assert done.result(PATIENCE_S).result.text == "it"


def test_the_work_of_a_lost_worker_is_done_again_and_nothing_of_it_is_left(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = tmp_path / "note"
    with _session(tmp_path, make) as session:
        beside = [session.submit(_act(f"beside {number}", ends="take a while")) for number in range(4)]
        first = session.run(_act("first "))
        lost = session.submit(_act("again", after=str(first.ref("text")), ends="lose the worker once", note=str(note)))
        assert lost.result(PATIENCE_S).result.text == "first again"
        assert [future.result(PATIENCE_S).result.text for future in beside] == [
            f"beside {number}" for number in range(4)
        ]
        _until(lambda: not psutil.pid_exists(int(note.read_text())))
    assert capsys.readouterr().out == "", "standard output is of results alone"


def test_a_worker_that_is_lost_each_time_fails_its_action_alone(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "RETRIES", 0)
    with _session(tmp_path, make) as session:
        lost = session.submit(_act("lost", ends="lose the worker once", note=str(tmp_path / "note")))
        good = session.submit(_act("good"))
        with pytest.raises(ChildDiedError, match="the cluster lost the worker"):
            lost.result(PATIENCE_S)
        assert good.result(PATIENCE_S).result.text == "good"


def test_closing_ends_the_processes_of_workers(make: Make, tmp_path: Path) -> None:
    heard = Heard()
    with _session(tmp_path, make, heard) as session:
        process = session.run(_act("before")).result.process
        futures = [session.submit(_act(f"long {number}", ends="sleep")) for number in range(2)]
        _until(lambda: {"write long 0: at long 0", "write long 1: at long 1"} <= set(heard.lines))
        found = [*psutil.Process().children(recursive=True)]
        assert process in [item.pid for item in found]
    assert all(isinstance(future.exception(PATIENCE_S), CancelledError) for future in futures)
    _until(lambda: not psutil.pid_exists(process))


def test_a_worker_with_another_package_is_refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = errands.made_of
    monkeypatch.setattr(errands, "made_of", lambda kind: {**found(kind), "numpy": "0.1"})
    with _session(tmp_path, make) as session, pytest.raises(UsageError) as error:
        session.run(_act("it"))
    assert "and 0.1 here" in error.value.what
    assert error.value.remedy == "On its machines: pip install numpy==0.1"


def test_an_input_that_is_gone_fails_its_action(make: Make, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("given ")
    with _session(tmp_path, make) as session:
        ref = session.give_file(given)
        given.unlink()
        with pytest.raises(StepError, match="could not be read"):
            session.run(_act("it", after=str(ref)))
        given.write_text("given ")
        assert session.run(_act("it", after=str(ref))).result.text == "given it"


_MAKE = """
import sys, numpy as np, tf_keras
tf_keras.utils.set_random_seed(0)
inputs = tf_keras.Input((8,), name="x")
tf_keras.Model(inputs, tf_keras.layers.Dense(3, activation="softmax")(inputs)).save(sys.argv[1] + "/net.keras")
x = np.random.default_rng(0).normal(size=(120, 8)).astype("float32")
np.savez(sys.argv[1] + "/data.npz", x=x, y=np.arange(120) % 3)
"""


def test_a_build_has_the_same_result_as_without_a_cluster(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", _MAKE, str(tmp_path)], check=True, capture_output=True)
    used: list[Cluster] = []

    def noted(*arguments: Any) -> Cluster:
        used.append(Cluster(*arguments))
        return used[-1]

    monkeypatch.setattr(cluster, "Cluster", noted)
    found = {}
    for where in ("", LOCAL):
        monkeypatch.setenv("EDGEBUILD_STORE", str(tmp_path / f"store{where}"))
        settings = {
            "build": {"compress": False, "refine": False, "repair": False, "cluster": where},
            "bench": {"on": []},
        }
        model, data = tmp_path / "net.keras", tmp_path / "data.npz"
        out = tmp_path / f"dist{where}"
        found[where] = api.build(model, target="arm64", data=data, out=out, settings=settings)
    assert found[LOCAL].artifact == found[""].artifact
    assert found[LOCAL].verdict == found[""].verdict
    assert found[LOCAL].accuracy == found[""].accuracy
    assert sum(used[0].done_by.values()) > 3
    assert min(used[0].sent) > 0
