"""The program at the other end of an ssh connection: it queues calls, or looks after one runner and cleans up after it.

It is sent as this one file, so it leans on the standard library alone and keeps to Python 3.9. It greets with a line
that holds the caller's word, for what a login prints comes before it; then it takes one JSON line, either

    {"queue": {}} -> {"waiting": seconds} now and then, {"ok": {}} once it is our turn.
        The turn ends with the input. What calls left behind that were killed is removed.
    {"run": {"runner": bytes, "artifact": bytes, "sha256": HEX, "limit_s": s, "idle_s": s, "memory_bytes": n}}
        and then the runner's source and the artifact -> {"ok": {"artifact": PATH}}.
        Lines then go to the runner and come back from it as they are. {"ended": {...}} tells how it ended.

or answers {"error": {"kind": "space" | "damaged" | "rights", "text": ...}}. A runner that does not answer within
`limit_s`, is asked nothing for `idle_s`, or takes more than `memory_bytes` is ended, as it is when the input ends.
Whatever happens, the folder that it works in is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

_NAME = f"edgebuild-{os.getuid()}"
_LOCK = "lock"
_CHUNK = 1 << 16
_POLL_S = 0.2
_SAY_S = 2.0
_GRACE_S = 5.0
_TAIL_BYTES = 4096
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EndOfInput(Exception):  # noqa: N818 - an input that ends is no mistake
    """The caller, or the connection to it, is gone."""


def main(word: str) -> None:
    """Greet, take the one request and do it."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _leave)
    say({"edgebuild": word, "python": list(sys.version_info[:2])})
    with contextlib.suppress(EndOfInput, BrokenPipeError):
        try:
            ((name, asked),) = json.loads(_line()).items()
            if name == "queue":
                queue()
            else:
                run(**asked)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            kind = "space" if error.errno in _NO_SPACE else "rights"
            say({"error": {"kind": kind, "text": str(error)}})


def say(message: dict[str, Any]) -> None:
    """Write a line to the caller."""
    _write(json.dumps(message).encode() + b"\n")


def queue() -> None:
    """Wait for this user's turn on this machine, and keep it until the input ends."""
    path = Path(tempfile.gettempdir(), f"{_NAME}.lock")
    lock = _turn(path)
    try:
        sweep(path.parent)
        say({"ok": {}})
        while os.read(0, _CHUNK):
            pass
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def sweep(base: Path) -> None:
    """Remove folders whose supervisor was killed: nobody holds their lock. Only for whose turn it is."""
    for folder in base.glob(f"{_NAME}-*"):
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not _is_held(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def run(runner: int, artifact: int, sha256: str, limit_s: float, idle_s: float, memory_bytes: int) -> None:
    """Take a runner's source and an artifact of so many bytes, and look after the runner until it ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_NAME}-"))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            program, network = folder / "runner.py", folder / "network.tflite"
            _receive(program, runner)
            if _receive(network, artifact) != sha256:
                say({"error": {"kind": "damaged", "text": "the artifact arrived with another SHA-256"}})
                return
            say({"ok": {"artifact": str(network)}})
            Supervision(program, limit_s, idle_s, memory_bytes).look_after()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Supervision:
    """The runner and what is kept an eye on.

    Args:
        program: its source.
        limit_s: how long it may take for an answer.
        idle_s: how long it may be asked nothing.
        memory_bytes: how much memory its process may hold, where the system tells.
    """

    def __init__(self, program: Path, limit_s: float, idle_s: float, memory_bytes: int) -> None:
        self._limit_s, self._idle_s, self._memory_bytes = limit_s, idle_s, memory_bytes
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            cwd=program.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._requests, self._answers, self._errors = (pipe.fileno() for pipe in pipes if pipe)
        os.set_blocking(self._requests, False)
        self._waiting = self._answered = self._tail = b""
        self._asked = False
        self._since = time.monotonic()

    def look_after(self) -> None:
        """Pass lines to and fro until the runner ends; then say how it did."""
        try:
            broken = ""
            while not broken and self._pass_on():
                broken = self._broken_limit()
            if broken:
                self._end()
            # Its answers may end a little before the process does, which then tells how it ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
            code = self._end()
            self._read_errors()
            how = {"code": max(code, 0), "by_signal": max(-code, 0), "limit": broken}
            say({"ended": {**how, "text": self._tail.decode("utf-8", "replace")}})
        finally:
            self._end()

    def _pass_on(self) -> bool:
        """Pass on what there is, or wait a little; whether the runner is still there."""
        ready, writable, _ = select.select(
            [0, self._answers, self._errors], [self._requests] if self._waiting else [], [], _POLL_S
        )
        if self._errors in ready:
            self._tail = (self._tail + os.read(self._errors, _CHUNK))[-_TAIL_BYTES:]
        if writable:
            with contextlib.suppress(BrokenPipeError):  # its end is seen at its answers
                self._waiting = self._waiting[os.write(self._requests, self._waiting) :]
        if self._answers in ready:
            chunk = os.read(self._answers, _CHUNK)
            if not chunk:
                return False
            lines, _, self._answered = (self._answered + chunk).rpartition(b"\n")
            if lines:
                self._turn_to(asked=False)
                _write(lines + b"\n")
        if 0 in ready:
            self._waiting += _read()
            self._turn_to(asked=True)
        return True

    def _turn_to(self, asked: bool) -> None:
        self._asked, self._since = asked, time.monotonic()

    def _broken_limit(self) -> str:
        passed_s = time.monotonic() - self._since
        if passed_s > (self._limit_s if self._asked else self._idle_s):
            return "time" if self._asked else "idle"
        return "memory" if _resident_bytes(self._process.pid) > self._memory_bytes > 0 else ""

    def _read_errors(self) -> None:
        while select.select([self._errors], [], [], 0)[0]:
            chunk = os.read(self._errors, _CHUNK)
            if not chunk:
                return
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:]

    def _end(self) -> int:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS forbids where the group is gone
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def _turn(path: Path) -> int:
    """Wait for the lock of a file; its descriptor. Who had it before removes the file, so it may be another by then."""
    started = told = time.monotonic()
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
        now = time.monotonic()
        if now - told >= _SAY_S or told == started:
            say({"waiting": now - started})
            told = now
        if select.select([0], [], [], _POLL_S)[0]:
            _read()


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it was killed before it made one
        return False
    return False


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _receive(path: Path, size: int) -> str:
    """Write so many bytes of the input into a file; their SHA-256."""
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file:
        while size:
            chunk = _read(min(size, _CHUNK))
            size -= len(chunk)
            digest.update(chunk)
            while chunk:
                chunk = chunk[file.write(chunk) :]
    return digest.hexdigest()


def _line() -> bytes:
    """A line of the input and nothing of what follows it."""
    line = b""
    while not line.endswith(b"\n"):
        line += _read(1)
    return line


def _read(most: int = _CHUNK) -> bytes:
    chunk = os.read(0, most)
    if not chunk:
        raise EndOfInput
    return chunk


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(1)
