"""A worker behind ssh: a supervisor there, and the runner that it looks after."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import ChildBugError, Limits
from edgebuild.runtimes.places.connection import Connection
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded
from edgebuild.units import format_bytes, format_seconds

_RUNNER = Path(__file__).with_name("runner.py")
# The limits are kept at the other end; what comes later than this beyond them is held up on the way.
_ON_THE_WAY_S = 30.0
# What ssh and the system still hold of an artifact that has been handed to them: megabytes, over a slow link.
_ARRIVAL_S = 180.0
_IDLE_S = 900.0
_RAISE = "Raise the limit in edgebuild.toml, [limits], if the network needs it."


class MissingError(UnavailableError):
    """Python there lacks an interpreter of .tflite files."""


class Task(NamedTuple):
    """What a worker is to load: the file, the kernels and threads, and the core that one thread is held on."""

    artifact: Path
    how: How
    core: int | None


class SshWorker:
    """A fresh process at an ssh destination that has loaded one artifact.

    Args:
        connection: to the supervisor, which has not been asked for anything; it is ended with the worker.
        destination: for messages.
        task: what is loaded.
        limits: of each request.
        ended: is told when the worker has ended.

    Raises:
        MissingError: there is no interpreter there.
        StepError: the artifact did not get there, or was refused; the process crashed, hung or broke its limits.
    """

    def __init__(
        self, connection: Connection, destination: str, task: Task, limits: Limits, ended: Callable[[SshWorker], None]
    ) -> None:
        self._connection, self._destination, self._limits = connection, destination, limits
        self._task = task
        self._whose = f"{task.artifact.name} on {destination}"
        self._ended = ended
        self._closing: Closing | None = None
        try:
            self.loaded = self._load()
        except BaseException:
            self._end()
            raise

    def block(self, *, time_s: float, most: int) -> Block:
        """Run inferences for `time_s` seconds, at least one and at most `most`."""
        return msgspec.convert(self._ask("block", {"time_s": time_s, "most": most}), Block)

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Run samples, each from a state without memory of the one before; see the Protocol."""
        given = [[base64.b64encode(part).decode() for part in sample] for sample in samples]
        made = self._ask("outputs", {"samples": given})["samples"]
        return [[base64.b64decode(part) for part in sample] for sample in made]

    def close(self) -> Closing:
        """End the process and see that nothing is left; the second time it tells the same."""
        if self._closing is None:
            try:
                self._closing = msgspec.convert(self._ask("close", {}), Closing)
            finally:
                self._end()
        return self._closing

    def _load(self) -> Loaded:
        program, network = _RUNNER.read_bytes(), self._task.artifact.read_bytes()
        sizes = {"runner": len(program), "artifact": len(network), "sha256": hashlib.sha256(network).hexdigest()}
        limits = {"limit_s": self._limits.time_s, "idle_s": _IDLE_S, "memory_bytes": self._limits.memory_bytes}
        self._connection.send({"run": {**sizes, **limits}})
        self._connection.write(program + network)
        arrived = self._answer(_ARRIVAL_S)["artifact"]
        how = {"kernels": self._task.how.kernels, "threads": self._task.how.threads, "pin": self._task.how.pin}
        own_end_s = self._limits.time_s + _ON_THE_WAY_S
        return msgspec.convert(
            self._ask("open", {"artifact": arrived, **how, "core": self._task.core, "limit_s": own_end_s}), Loaded
        )

    def _ask(self, name: str, asked: dict[str, Any]) -> Any:
        try:
            self._connection.send({name: asked})
            return self._answer(self._limits.time_s + _ON_THE_WAY_S)
        except BaseException:
            # Of a process that crashed, or whose interpreter raised, no other figure can be trusted.
            self._end()
            raise

    def _answer(self, time_s: float) -> Any:
        try:
            answer = self._connection.answer(time_s)
        except TimeoutError:
            raise StepError(
                f"{self._destination} does not answer any more",
                f"It was silent for {format_seconds(time_s)}.",
                "See whether the network holds, and measure again.",
            ) from None
        if "ok" in answer:
            return answer["ok"]
        raise self._died(**answer["ended"]) if "ended" in answer else self._failure(**answer["error"])

    def _failure(self, kind: str, text: str) -> Exception:
        if kind == "missing":
            return MissingError(f"Python on {self._destination} has no LiteRT", text)
        if kind == "refused":
            kernels = self._task.how.kernels
            return StepError(f"LiteRT does not run {self._whose} with {kernels} kernels", text)
        if kind == "space":
            return no_space(self._task.artifact.name, self._destination, text)
        if kind == "damaged":
            return StepError(f"{self._task.artifact.name} was damaged on its way to {self._destination}", text)
        if kind == "rights":
            return StepError(f"a file on {self._destination} could not be read or written", text)
        return ChildBugError(text)

    def _died(self, code: int, by_signal: int, limit: str, text: str) -> Exception:
        interpreter = f"the interpreter of {self._whose}"
        broken = {
            "time": f"it was not done after {format_seconds(self._limits.time_s)}",
            "idle": f"it was asked nothing for {format_seconds(_IDLE_S)}",
            "memory": f"it took more than its {format_bytes(self._limits.memory_bytes)}",
        }
        if limit:
            return StepError(f"{interpreter} was ended: {broken[limit]}", remedy="" if limit == "idle" else _RAISE)
        if "ModuleNotFoundError" in text:
            return MissingError(f"Python on {self._destination} lacks a package", text.strip().splitlines()[-1])
        return StepError(f"{interpreter} crashed ({ending(code, by_signal)})", text.strip())

    def _end(self) -> None:
        self._closing = self._closing or Closing()
        self._connection.end()
        self._ended(self)


def no_space(artifact: str, machine: str, text: str) -> StepError:
    """An artifact did not fit onto a machine, which gave its reason."""
    return StepError(
        f"there is no space for {artifact} on {machine}",
        text,
        "Make room in its folder for temporary files, or let TMPDIR there name another.",
    )


def ending(code: int, number: int) -> str:
    """How a process ended: its exit code, or the number of the signal that ended it where that is not 0."""
    if not number:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):  # another system may have others
        return f"signal {signal.Signals(number).name}"
    return f"signal {number}"
