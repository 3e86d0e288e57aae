"""The worker's end of a cluster, without one: what it does with an action that came as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sessions
from making import ACCURACY, IDENTITY, SETTINGS

from edgebuild.actions.compression import PASSES, CompressJob, LessonJob
from edgebuild.actions.runtimes import EDGETPU, RUNS, EdgeTpuJob, RunsJob
from edgebuild.core.action import Ref
from edgebuild.core.passes import Student
from edgebuild.core.plan import Source
from edgebuild.errors import StepError, UnavailableError, UsageError
from edgebuild.execution import cluster, connection, errands, packing
from edgebuild.execution.errands import Errand, Reply
from edgebuild.execution.executor import Work
from edgebuild.process import ChildBugError, ChildDiedError
from tests.unit.action_children import ACT, Act, Acted

_TABLE = "tests.unit.action_children"


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(errands.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    errands.leave()
    assert not list(tmp_path.glob("edgebuild-node-*")), "the last one leaves nothing"


def _do(act: Act, inputs: dict[str, list[bytes]] | None = None, said: Any = print, **changed: Any) -> tuple[Reply, Any]:
    errand = Errand(
        number=7,
        session="abc",
        kind="act",
        settings=msgspec.Raw(msgspec.json.encode(act)),
        kinds=_TABLE,
        table=_TABLE,
        limits=sessions.LIMITS,
        made_of=errands.made_of(ACT),
    )
    data = msgspec.json.encode(msgspec.structs.replace(errand, **changed))
    head, chunks = errands.perform(data, inputs or {}, bytes, said)
    return msgspec.json.decode(head, type=Reply), chunks


def test_an_input_is_unpacked_once_and_what_is_left_comes_back(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("before ")
    ref, told = Ref("1" * 64, "2" * 64, "given.txt"), []
    inputs = {str(ref): packing.packed(given, given.name)}
    reply, chunks = _do(Act(text="one", after=str(ref)), inputs, lambda number, text: told.append((number, text)))
    assert msgspec.json.decode(reply.result, type=Acted).text == "before one"
    assert told == [(7, "at one")]
    assert reply.worker.endswith(f"process {os.getpid()}")
    assert os.environ.get("OMP_NUM_THREADS") is None, "as the session has it"
    out = tmp_path / "out"
    out.mkdir()
    packing.unpack(chunks, out)
    assert (out / "text").read_text() == "before one"
    # The second time nothing is fetched, and the same child does it.
    again, _ = _do(Act(text="two", after=str(ref)), {str(ref): []})
    results = [msgspec.json.decode(found.result, type=Acted) for found in (reply, again)]
    assert (results[1].text, results[1].process) == ("before two", results[0].process)


def test_errors_keep_their_kinds_on_their_way() -> None:
    kinds = {"refuse": StepError, "raise": ChildBugError, "crash": ChildDiedError}
    for ends, kind in kinds.items():
        reply, chunks = _do(Act(text="bad", ends=ends))
        error = errands.error_of(reply)
        assert (type(error), chunks) == (kind, [])
    refused = errands.error_of(_do(Act(text="bad", ends="refuse"))[0])
    assert isinstance(refused, StepError)
    assert (refused.what, refused.remedy) == ("it was refused", "do not ask")
    unavailable = errands.error_of(errands.reply(UnavailableError("a", "b", "c")))
    assert isinstance(unavailable, UnavailableError)


@pytest.mark.parametrize("name", ["edgebuild", "the code of edgebuild", "numpy"])
def test_an_action_is_not_done_by_other_code_or_packages(name: str) -> None:
    wanted = {**errands.made_of(ACT), name: "0.0.1"}
    reply, _ = _do(Act(text="one"), made_of=wanted)
    assert [(item[0], item[1]) for item in reply.differs] == [(name, "0.0.1")]
    refusal = cluster.refusal(reply)
    assert name in refusal.what
    assert f"process {os.getpid()}" in refusal.why
    assert "nstall" in refusal.remedy


def test_what_killed_workers_left_is_swept_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    left = tmp_path / "edgebuild-node-left"
    left.mkdir()
    (left / "lock").touch()
    _do(Act(text="one"))
    errands.sweep()
    assert [path.name for path in tmp_path.glob("edgebuild-node-*")] == ["edgebuild-node-abc"]


def _goes(kind: Any, settings: Any) -> bool:
    return cluster.goes(Work(kind.action(settings), kind, Path(), lambda _: Path(), print))


def test_what_belongs_to_this_machine_stays_here() -> None:
    assert _goes(ACT, Act(text="a"))
    assert _goes(ACT, Act(text="a", all_cores=True))
    assert not _goes(ACT, Act(text="a", alone="board"))
    assert not _goes(ACT, Act(text="a", is_known=False))
    lesson = LessonJob(
        data="",
        given_samples=1,
        preprocess=IDENTITY,
        metric=ACCURACY,
        train=SETTINGS.train,
        distill=SETTINGS.distill,
        seed=0,
        time_s=1.0,
        allow_code=False,
    )
    teacher = Source(kind="file", path="teacher.keras", sha256="1" * 64)
    taught = msgspec.structs.replace(lesson, learns_from=(teacher,))
    student = Student(network="", width=0.5, multiple=8, fresh=False)
    assert _goes(PASSES["student"], _job(student, None))
    assert _goes(PASSES["student"], _job(student, lesson))
    assert not _goes(PASSES["student"], _job(student, taught))
    assert not _goes(PASSES["student"], _job(msgspec.structs.replace(student, network="own:make"), None))
    assert not _goes(EDGETPU, EdgeTpuJob(artifact=""))
    assert not _goes(RUNS, RunsJob(artifact=""))


def _job(student: Student, lesson: LessonJob | None) -> CompressJob:
    return CompressJob(
        settings=student,
        network="",
        original="",
        lesson=lesson,
        calibration="",
        preprocess=IDENTITY,
        latencies=None,
        float_layers=(),
        seed=0,
    )


def test_a_worker_without_edgebuild_is_said_to_need_it() -> None:
    lost = cluster.unforeseen(RuntimeError("ray::_do() ...\nModuleNotFoundError: No module named 'edgebuild'"))
    assert isinstance(lost, UsageError)
    assert lost.remedy.startswith("On its machines: pip install 'edgebuild[cluster]==")
    assert isinstance(cluster.unforeseen(RuntimeError("ray::_do() ... ZeroDivisionError")), ChildBugError)


def test_what_is_no_cluster_and_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'nowhere' is no cluster") as wrong, connection.connected("nowhere", 1):
        pass
    assert "auto, local or ray://HOST:10001" in wrong.value.remedy
    monkeypatch.setattr(connection.host, "versions", lambda _: {})
    with pytest.raises(UnavailableError, match="Ray is not installed") as missing, connection.connected("auto", 1):
        pass
    assert missing.value.remedy == "Install it: pip install 'edgebuild[cluster]'"
