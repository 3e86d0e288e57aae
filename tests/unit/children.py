"""A table of jobs for the tests of `edgebuild.process`: what a child can do, and every way in which it can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import msgspec

from edgebuild.child import Job, Say
from edgebuild.errors import StepError, UnavailableError, UsageError

_FOREVER_S = 600


class Text(msgspec.Struct):
    text: str = ""


class Number(msgspec.Struct):
    number: int = 0


def _echo(job: Text, _: Say) -> Text:
    return job


def _pid(job: Number, _: Say) -> Number:
    return Number(os.getpid())


def _count(job: Number, say: Say) -> Number:
    for number in range(job.number):
        say(f"{number + 1} of {job.number}")
    return job


def _refuse(job: Text, _: Say) -> Text:
    kinds = {"usage": UsageError, "step": StepError, "unavailable": UnavailableError}
    raise kinds[job.text]("what happened", "why it did", "what to do")


def _mistake(job: Text, _: Say) -> Text:
    raise ZeroDivisionError(job.text)


def _no_file(job: Text, _: Say) -> Text:
    with open("/nonexistent/file") as file:  # noqa: PTH123
        return Text(file.read())


def _no_memory(job: Text, _: Say) -> Text:
    raise MemoryError


def _abort(job: Text, _: Say) -> Text:
    print("a line on the way", flush=True)  # noqa: T201
    print(job.text, file=sys.stderr, flush=True)  # noqa: T201
    os.abort()


def _segfault(job: Text, _: Say) -> Text:
    os.kill(os.getpid(), signal.SIGSEGV)
    return job


def _leave(job: Number, _: Say) -> Number:
    raise SystemExit(job.number)


def _sleep(job: Text, say: Say) -> Text:
    say(str(os.getpid()))
    time.sleep(_FOREVER_S)
    return job


def _eat(job: Number, _: Say) -> Number:
    eaten = bytearray(job.number)
    for start in range(0, len(eaten), 4096):
        eaten[start] = 1
    time.sleep(_FOREVER_S)
    return job


def _shout(job: Number, _: Say) -> Number:
    for _line in range(job.number):
        print("x" * 99)  # noqa: T201
    os.write(1, b'{"result":{"number":666}}\n')
    return job


def _start_another(job: Text, _: Say) -> Number:
    return Number(subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({_FOREVER_S})"]).pid)


def _import(job: Text, _: Say) -> Text:
    return Text(import_module(job.text).WORD)


JOBS = {
    "echo": Job(Text, _echo),
    "pid": Job(Number, _pid),
    "count": Job(Number, _count),
    "refuse": Job(Text, _refuse),
    "mistake": Job(Text, _mistake),
    "no file": Job(Text, _no_file),
    "no memory": Job(Text, _no_memory),
    "abort": Job(Text, _abort),
    "segfault": Job(Text, _segfault),
    "leave": Job(Number, _leave),
    "sleep": Job(Text, _sleep),
    "eat": Job(Number, _eat),
    "shout": Job(Number, _shout),
    "start another": Job(Text, _start_another),
    "import": Job(Text, _import),
}
