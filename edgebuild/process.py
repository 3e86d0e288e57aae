"""Child processes with limits: where interpreters run, TensorFlow lives and untrusted files are opened.

A child answers jobs one after another over two pipes, a JSON line each way, so that TensorFlow is imported once for all
that a build asks of it. Whatever the child or its libraries print goes to a log. The other end is `edgebuild.child`.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import msgspec

from edgebuild.errors import BY_EXIT_CODE, StepError
from edgebuild.units import format_bytes, format_seconds

# How often memory and time are looked at while a job runs.
_POLL_S = 0.05
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from importlib import import_module;"
    "from edgebuild.child import serve; serve(import_module(sys.argv[2]).JOBS, *map(int, sys.argv[3:5]), sys.argv[5:])"
)
_ROOT = str(Path(__file__).parent.parent)
_OWN_LINE = re.compile(r'\s*File ".*?(edgebuild/[\w/]+\.py)", line (\d+)')
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONWARNINGS": "ignore",
    "PYTHONUTF8": "1",
}
_MOST = 6  # lines that explain
_MOST_OTHERS = 3  # of what is left where none is known to
_LONGEST = 400  # characters of one
# What writes such a line ends the process: a failed check of absl, an assertion in C, the C library's own heap checks,
# the C++ runtime, LLVM, Python.
_FATAL = re.compile(
    r"""F\d{4}\ \d\d:\d\d:\d\d            # glog: F0000 00:00:1234.5 file.cc:12] Check failed: ...
      | \d{4}-\d\d-\d\d\ [\d:.]+:\ F\     # TensorFlow's own: 2026-11-30 05:12:01.5: F tensorflow/...
      | .*\bCheck\ failed:
      | .*:\ Assertion\ [`'].*failed
      | (double\ free|free\(\)|munmap_chunk\(\)|malloc\(\)|realloc\(\)|corrupted\ |\*\*\*\ stack\ smashing)
      | terminate\ called | \s*what\(\):
      | LLVM\ ERROR: | Fatal\ Python\ error: | Segmentation\ fault | Killed | Out\ of\ memory
      | .*\b(std::bad_alloc|StackOverflow|stack\ overflow)\b
      | ERROR:\                           # LiteRT's reporter
    """,
    re.VERBOSE,
)
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)\b(: .*)?$")
# What TensorFlow, absl, XLA, Keras and LiteRT write in any run.
_NOISE = re.compile(
    r"""[IWE]\d{4}\ \d\d:\d\d:\d\d | \d{4}-\d\d-\d\d\ [\d:.]+:\ [IWE]\b
      | (WARNING|INFO|DEBUG|ERROR)\b | .*Warning: | \s*warnings\.warn | Instructions\ for\ updating
      | To\ enable\ the\ following\ instructions | .*\brebuild\ TensorFlow
      | Saved\ artifact\ at | \*\ Endpoint | (Output\ Type|Captures): | .*\bTensorSpec\( | fully_quantize:
      | (Estimated\ count\ of|Summary\ on)\b | .*\btf\.function\ retracing
    """,
    re.VERBOSE,
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one job may take: wall seconds, and resident bytes of its process."""

    time_s: float
    memory_bytes: int


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line from the child: progress, the result, an expected failure, or the traceback of a bug."""

    progress: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    failure: tuple[int, str, str, str] | None = None
    bug: str | None = None


class ChildBugError(Exception):
    """A child raised what no step expects; the text is its traceback."""

    @property
    def what(self) -> str:
        """The exception in one line, with the innermost line of this package that it came through."""
        lines = str(self).strip().splitlines() or [""]
        places = [match for match in map(_OWN_LINE.match, lines) if match]
        return f"{lines[-1]:.200}" + (f" ({places[-1][1]}, line {places[-1][2]})" if places else "")


class ChildDiedError(StepError):
    """The child's process ended, or was ended, within a job."""


class ChildSlowError(ChildDiedError):
    """The child's process was ended since its job took too long."""


class Child:
    """One child process, started at its first job and ended by `close`.

    Args:
        module: the module whose table JOBS names the jobs, as "package.module".
        purpose: what it does, for messages: "the converter".
        log: the file that takes what it prints.
        code: folders where modules of the user are looked up, after everything else.
    """

    def __init__(self, module: str, purpose: str, log: Path, code: tuple[str, ...] = ()) -> None:
        self._module = module
        self.purpose = purpose
        self._log = log
        self._code = code
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = -1
        self._answers = -1
        self._pending = b""
        self._is_killed = False
        self._log_start = 0  # what stands before is of processes that ended, or of earlier jobs

    @property
    def runs(self) -> bool:
        """Whether its process was started, and was not seen to end."""
        return self._process is not None

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, name: str, job: msgspec.Struct, limits: Limits, progress: Callable[[str], None]) -> bytes:
        """Run one job and return its result as JSON.

        Raises:
            EdgebuildError: the job failed as the child foresaw it.
            ChildDiedError: the process crashed, or was ended for breaking its limits.
            ChildBugError: the job raised something unforeseen.
        """
        if self._process is None:
            self._start()
            if self._is_killed:  # by a thread that saw no process yet
                self.kill()
        else:
            self._log_start = self._log.stat().st_size
        line = msgspec.json.encode([name, job]) + b"\n"
        try:
            _write_all(self._requests, line)
        except BrokenPipeError:
            self._died(None)
        for answer in self._read_answers(limits):
            if answer.progress is not None:
                progress(answer.progress)
            elif answer.failure is not None:
                code, what, why, remedy = answer.failure
                raise BY_EXIT_CODE.get(code, StepError)(what, why, remedy)
            elif answer.bug is not None:
                raise ChildBugError(answer.bug)
            else:
                return bytes(answer.result)
        raise AssertionError("a child's answers end with a result or an error")

    def kill(self) -> None:
        """End the process, which another thread may start or wait for; that must close this child."""
        self._is_killed = True
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and whatever it started; nothing is left behind."""
        process, self._process = self._process, None
        if process is None:
            return
        for descriptor in (self._requests, self._answers):
            os.close(descriptor)
        self._pending = b""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _start(self) -> None:
        requests_in, self._requests = os.pipe()
        self._answers, answers_out = os.pipe()
        command = [sys.executable, "-P", "-c", _BOOT, _ROOT, self._module, str(requests_in), str(answers_out)]
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*command, *self._code],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(requests_in, answers_out),
                # Over what the user has set for other work: a KERAS_BACKEND of jax would break every network.
                env={**os.environ, **_ENVIRONMENT},
                # A session of its own: Ctrl-C reaches edgebuild alone, which then ends the whole group.
                start_new_session=True,
            )
        os.close(requests_in)
        os.close(answers_out)

    def _read_answers(self, limits: Limits) -> Iterator[Answer]:
        import psutil  # a rebuild in which nothing changed starts no child and need not pay for it

        assert self._process is not None
        watched = psutil.Process(self._process.pid)
        deadline = time.monotonic() + limits.time_s
        while True:
            # Processes that it forked may hold the pipe open when it is gone: its end is not seen there alone.
            is_over = self._process.poll() is not None
            ready, _, _ = select.select([self._answers], [], [], _POLL_S)
            if ready:
                chunk = os.read(self._answers, 1 << 16)
                if not chunk:
                    self._died(None)
                *lines, self._pending = (self._pending + chunk).split(b"\n")
                for line in lines:
                    yield msgspec.json.decode(line, type=Answer)
            elif is_over:
                self._died(None)
            with contextlib.suppress(psutil.NoSuchProcess):
                resident = watched.memory_info().rss
                if resident > limits.memory_bytes:
                    self._died(f"it took {format_bytes(resident)}, more than its {format_bytes(limits.memory_bytes)}")
            if time.monotonic() > deadline:
                self._died(f"it was not done after {format_seconds(limits.time_s)}", ChildSlowError)

    def _died(self, broken_limit: str | None, kind: type[ChildDiedError] = ChildDiedError) -> NoReturn:
        assert self._process is not None
        process = self._process
        if broken_limit is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        code = process.poll()
        self.close()
        if broken_limit is not None:
            raise kind(
                f"{self.purpose} was ended: {broken_limit}",
                remedy="Raise the limit in edgebuild.toml, [limits], if the network needs it.",
            )
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        raise ChildDiedError(f"{self.purpose} crashed ({how})", self._last_words())

    def _last_words(self) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(self._log_start)
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return explaining(text)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def explaining(log: str) -> str:
    """The lines of a log by which its process said why it ended; empty where it said nothing.

    Lines that are known to come with an end stand alone; where there are none, the last that are no warnings and no
    progress of libraries.
    """
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    found = _fatal(lines)
    if not found:
        found = [line for line in lines if not _NOISE.match(line.strip())][-_MOST_OTHERS:]
    return "\n".join(line.strip()[:_LONGEST] for line in found[-_MOST:])


def _fatal(lines: list[str]) -> list[str]:
    """Lines that come with an end, and of each traceback its exception."""
    found, inside = [], False
    for line in lines:
        if line.startswith(_TRACEBACK):
            inside = True
        elif inside and not line.startswith((" ", "\t")):
            inside = False
            if _EXCEPTION.match(line):
                found.append(line)
        elif _FATAL.match(line):
            found.append(line)
    return found
