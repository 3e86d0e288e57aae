"""The child's end of `edgebuild.process`: takes jobs from a pipe and answers them until the pipe is closed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from edgebuild.errors import EdgebuildError, StepError
from edgebuild.process import Answer

_PR_SET_PDEATHSIG = 1

_ROOM = "Check space and rights there; what is made is kept in the user's cache, or where EDGEBUILD_STORE says."

Say = Callable[[str], None]


class Job(NamedTuple):
    """A kind of work: the type of its settings, and the function that does it and tells of its progress."""

    settings: type[msgspec.Struct]
    run: Callable[[Any, Say], msgspec.Struct]


def paced(say: Say, every_s: float = 1.0) -> Say:
    """A way to say things that leaves out what comes too soon after the last, for loops that may be fast."""
    told = time.monotonic()

    def say_at_times(text: str) -> None:
        nonlocal told
        if time.monotonic() - told >= every_s:
            told = time.monotonic()
            say(text)

    return say_at_times


def serve(jobs: Mapping[str, Job], requests: int, answers: int, code: Sequence[str]) -> None:
    """Answer jobs until there are no more.

    Args:
        jobs: the work that this child can do, by name.
        requests: the file descriptor that jobs come from.
        answers: the file descriptor that answers go to.
        code: folders where modules of the user are looked up, after everything else.
    """
    _end_with_parent()
    sys.path.extend(code)

    def send(answer: Answer) -> None:
        with os.fdopen(os.dup(answers), "wb") as pipe:
            pipe.write(msgspec.json.encode(answer) + b"\n")

    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            send(_answer(jobs, line, lambda text: send(Answer(progress=text))))


def _answer(jobs: Mapping[str, Job], line: bytes, say: Say) -> Answer:
    try:
        name, settings = msgspec.json.decode(line, type=tuple[str, msgspec.Raw])
        job = jobs[name]
        result = job.run(msgspec.json.decode(settings, type=job.settings), say)
        return Answer(result=msgspec.Raw(msgspec.json.encode(result)))
    except EdgebuildError as error:
        return _failure(error)
    except MemoryError:
        return _failure(StepError("there is not enough memory for this step"))
    except OSError as error:
        return _failure(StepError("a file could not be read or written", str(error), _ROOM))
    except Exception:
        return Answer(bug=traceback.format_exc())


def _failure(error: EdgebuildError) -> Answer:
    return Answer(failure=(int(error.exit_code), error.what, error.why, error.remedy))


def _end_with_parent() -> None:
    """Ask Linux to end this process with its parent; elsewhere it ends when its pipe closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
