"""A table of jobs for the tests of executors: kinds of actions that do what their settings say, and how they end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec

from edgebuild.child import Job, Say
from edgebuild.core.action import File, Kind, Out, Takes, Tool
from edgebuild.errors import StepError

_TOOL, _FRESH = Tool("the worker"), Tool("the worker", is_fresh=True)
_HEAVY = Tool("the converter", is_tensorflow=True)


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Write the text, after that of a file if one is given.

    `ends` says how it ends otherwise: "refuse", "raise", "crash", "crash once" (for which `note` is left), "sleep", or
    "lose the worker once", which ends the process that started this one, and leaves the number of this one in `note`.
    "wait" lasts until `note` is there. "leave a process" crashes as well, while a process that it forked holds what it
    has open; "change" writes into `note` before it reads. "crash once" leaves a file in `out`.
    """

    text: str
    after: File = ""
    ends: str = ""
    note: str = ""
    alone: str = ""
    all_cores: bool = False
    is_known: bool = True
    out: Out = ""


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, by which process, and when that began and ended."""

    text: str
    process: int
    began_s: float
    ended_s: float


def _act(job: Act, say: Say) -> Acted:
    began = time.monotonic()
    say(f"at {job.text}")
    if job.ends == "refuse":
        raise StepError("it was refused", "since it was asked to", "do not ask")
    if job.ends == "raise":
        raise ZeroDivisionError(job.text)
    if job.ends == "crash" or (job.ends == "crash once" and not Path(job.note).exists()):
        if job.note:
            Path(job.note).write_text("crashed")
            (Path(job.out) / "half").mkdir()
            (Path(job.out) / "half" / "done").write_text("half")
        os.abort()
    _leave(job)
    if job.ends == "lose the worker once" and not Path(job.note).exists():
        Path(job.note).write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    while job.ends == "wait" and not Path(job.note).exists():
        time.sleep(0.01)
    if job.ends == "sleep":
        time.sleep(600)
    if job.ends == "take a while":
        time.sleep(0.5)
    text = (Path(job.after).read_text() if job.after else "") + job.text
    (Path(job.out) / "text").write_text(text)
    return Acted(text=text, process=os.getpid(), began_s=began, ended_s=time.monotonic())


def _leave(job: Act) -> None:
    """What functions of a user may do to a process, or to a file."""
    if job.ends == "leave a process":
        if os.fork() == 0:
            time.sleep(600)
        os._exit(3)
    if job.ends == "change":
        Path(job.note).write_text("changed")


def _kind(name: str, tool: Tool) -> Kind[Act, Acted]:
    return Kind(
        name=name,
        settings=Act,
        result=Acted,
        run="tests.unit.action_children:_act",
        tool=tool,
        title=lambda job: f"write {job.text}",
        takes=lambda job: Takes(alone=(job.alone,) if job.alone else (), all_cores=job.all_cores),
        is_known=lambda job: job.is_known,
    )


ACT, FRESH, HEAVY = _kind("act", _TOOL), _kind("act-fresh", _FRESH), _kind("act-heavy", _HEAVY)
KINDS = {kind.name: kind for kind in (ACT, FRESH, HEAVY)}
JOBS = {name: Job(Act, _act) for name in KINDS}
