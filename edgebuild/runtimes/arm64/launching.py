"""The emulated system while it runs: started once, and asked for a fresh process for each artifact."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.arm64 import machine
from edgebuild.runtimes.arm64.emulator import INSTALL, Emulator, counting_plugin
from edgebuild.units import format_bytes, format_seconds

# Emulated Python imports numpy and LiteRT in some seconds; on a busy machine it takes its time.
_BOOT_S = 180.0
# The guest answers at once what it is asked to do with processes.
_CONTROL_S = 30.0
_MESSAGE_BYTES = 1 << 16
_LAST_LINES = 6
_RAISE_LIMIT = "Raise the limit in edgebuild.toml, [limits], if the network needs it."
# How often memory and time are looked at.
_POLL_S = 0.05
_CHUNK_BYTES = 1 << 16


class Guest:
    """An emulated arm64 that has imported LiteRT.

    Args:
        emulator: what there is.
        core: that it emulates, of `machine.CORES`.
        folder: that its machine and its logs are made in.
        keeps_compiled: whether Python writes what it compiles beside the sources, for later starts.

    Raises:
        UnavailableError: it does not start, or lacks a package.
    """

    def __init__(self, emulator: Emulator, core: str, folder: Path, *, keeps_compiled: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="arm64-", dir=folder))
        self._log = self._folder / "guest.log"
        # The first is the guest's own.
        self._free = list(range(machine.COUNTERS - 1, 0, -1))
        self._alive: dict[int, int] = {}
        machine.make(emulator, core, counting_plugin(emulator.version), self._folder)
        self._control, theirs = socket.socketpair()
        with theirs, self._log.open("ab") as log, machine.steady_addresses():
            self._process = subprocess.Popen(
                machine.command(emulator, core, theirs.fileno(), keeps_compiled=keeps_compiled),
                cwd=self._folder,
                env=emulator.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        try:
            self._require_ready()
        except BaseException:
            self.close()
            raise

    def start(self, artifact: Path, name: str) -> Worker:
        """A fresh process that may see an artifact; `name` is what that is called in errors.

        Raises:
            UnavailableError: the guest has ended.
        """
        counter = self._free.pop()
        log = self._folder / f"worker-{counter}.log"
        seen = machine.admit(artifact, counter, self._folder)
        requests_in, requests = os.pipe()
        answers, answers_out = os.pipe()
        try:
            with log.open("wb") as messages:
                told = self._call({"start": counter}, (requests_in, answers_out, messages.fileno()))
        except BaseException:
            os.close(requests)
            os.close(answers)
            raise
        finally:
            os.close(requests_in)
            os.close(answers_out)
        number = int(told["started"])
        self._alive[number] = counter
        return Worker(self, number, Talk(requests, answers, lambda: _resident_bytes(number)), seen, name, log)

    def end(self, process: int) -> int:
        """Kill a process of the guest, unless it has ended; its exit code, negative for a signal.

        Raises:
            UnavailableError: the guest has ended.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        return self.wait(process)

    def wait(self, process: int) -> int:
        """Wait for a process of the guest that is about to end; its exit code, negative for a signal.

        Raises:
            UnavailableError: the guest has ended.
        """
        self._free.append(self._alive.pop(process))
        return int(self._call({"end": process})["ended"])

    def close(self) -> None:
        """End the guest with all its processes."""
        for process in self._alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._control.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _require_ready(self) -> None:
        answer = self._answer(_BOOT_S)
        if "missing" in answer:
            raise UnavailableError("the emulated system lacks a package", answer["missing"], f"Install it: {INSTALL}")

    def _call(self, message: dict[str, int], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Tell the guest something, and what it answers."""
        try:
            socket.send_fds(self._control, [msgspec.json.encode(message)], descriptors)
        except OSError:
            self._gone("")
        return self._answer(_CONTROL_S)

    def _answer(self, time_s: float) -> dict[str, Any]:
        self._control.settimeout(time_s)
        try:
            message = self._control.recv(_MESSAGE_BYTES)
        except TimeoutError:
            self._gone(f"It did not answer within {format_seconds(time_s)}.")
        except ConnectionError:
            message = b""
        if not message:
            self._gone("")
        answer: dict[str, Any] = msgspec.json.decode(message)
        return answer

    def _gone(self, why: str) -> NoReturn:
        raise UnavailableError(
            "the emulated arm64 does not run",
            "\n".join(filter(None, [why, last_lines(self._log)])),
            f"Install it anew: {INSTALL}",
        )


class Worker:
    """A process of the guest.

    Args:
        guest: that forked it.
        process: its number.
        talk: with `places.runner` in it.
        artifact: the path at which it sees its artifact.
        name: of the artifact, for errors.
        log: that takes what it prints.
    """

    def __init__(self, guest: Guest, process: int, talk: Talk, artifact: str, name: str, log: Path) -> None:
        self._guest = guest
        self._process = process
        self._talk = talk
        self._purpose = f"the emulated interpreter of {name}"
        self._log = log
        self._is_over = False
        self.artifact = artifact

    def ask(self, request: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """What it answers to a request of `places.runner`.

        Raises:
            StepError: the process crashed, or was ended for breaking its limits.
        """
        try:
            answer = self._talk.ask(request, limits)
        except BrokenLimitError as limit:
            self.end()
            raise StepError(f"{self._purpose} was ended: {limit}", remedy=_RAISE_LIMIT) from None
        if answer is not None:
            return answer
        code = self._guest.wait(self._process)
        self._is_over = True
        self._talk.close()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise StepError(f"{self._purpose} crashed ({how})", last_lines(self._log))

    def end(self) -> None:
        """End the process, whatever it is doing; may be called again."""
        if not self._is_over:
            self._is_over = True
            self._talk.close()
            self._guest.end(self._process)


def last_lines(log: Path) -> str:
    """The end of what a process printed."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join([line.strip() for line in text.splitlines() if line.strip()][-_LAST_LINES:])


def _resident_bytes(process: int) -> int:
    import psutil  # installing and looking do without

    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


class BrokenLimitError(Exception):
    """The process took more than it may; the text says of what."""


class Talk:
    """Our ends of the two pipes.

    Args:
        requests: the descriptor that lines are written to.
        answers: the descriptor that they are read from.
        resident_bytes: tells the memory that the process has now.
    """

    def __init__(self, requests: int, answers: int, resident_bytes: Callable[[], int]) -> None:
        self._requests = requests
        self._answers = answers
        self._resident_bytes = resident_bytes
        self._pending = b""
        os.set_blocking(requests, False)

    def ask(self, request: dict[str, Any], limits: Limits) -> dict[str, Any] | None:
        """Send a line and wait for the next; None where the process has ended.

        Raises:
            BrokenLimitError: it takes too long or too much memory.
        """
        deadline = time.monotonic() + limits.time_s
        left = memoryview(msgspec.json.encode(request) + b"\n")
        while b"\n" not in self._pending:
            self._check(limits, deadline)
            readable, writable, _ = select.select(
                [self._answers],
                [self._requests] if left else [],
                [],
                max(0.0, min(_POLL_S, deadline - time.monotonic())),
            )
            if readable:
                chunk = os.read(self._answers, _CHUNK_BYTES)
                if not chunk:
                    return None
                self._pending += chunk
            if writable:
                left = self._write(left)
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer

    def close(self) -> None:
        """End the conversation."""
        for descriptor in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _write(self, data: memoryview) -> memoryview:
        try:
            return data[os.write(self._requests, data[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            return data[:0]  # it has ended: its answers will say so

    def _check(self, limits: Limits, deadline: float) -> None:
        resident = self._resident_bytes()
        if resident > limits.memory_bytes:
            raise BrokenLimitError(
                f"it took {format_bytes(resident)}, more than its {format_bytes(limits.memory_bytes)}"
            )
        if time.monotonic() > deadline:
            raise BrokenLimitError(f"it was not done after {format_seconds(limits.time_s)}")
