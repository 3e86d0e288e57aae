"""A machine behind ssh as a place.

It needs a POSIX shell and either Python 3.9 with ai-edge-litert (or tflite-runtime) or TFLite's `benchmark_model`, on
the PATH or in the home folder; of that there are no outputs. EDGEBUILD_SSH names another command than `ssh`, with
options, and EDGEBUILD_SSH_PYTHON another than `python3` at the other end, where a board's pip wants an environment.

Measurements of one user queue there: a connection of its own holds the lock for as long as the place is open.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.place import QUEUE_S
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import ChildBugError, Limits
from edgebuild.runtimes.places import benchmark_model
from edgebuild.runtimes.places.benchmark_model import Network, Tool, ToolWorker
from edgebuild.runtimes.places.connection import Connection, NoPythonError, gone, open_dialogue
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded, Worker, unheard
from edgebuild.runtimes.places.shell import Shell, quoted
from edgebuild.units import format_bytes, format_seconds

PYTHON_VARIABLE = "EDGEBUILD_SSH_PYTHON"
_UPLOAD_S = 900.0
_BASE = '"${TMPDIR:-/tmp}"'
_MACHINE = (
    "board=$(tr -d '\\0' </proc/device-tree/model 2>/dev/null || "
    "sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1); "
    'echo "$(uname -m), ${board:-unknown processor}, $(nproc) cores"'
)
_TOOL = "command -v benchmark_model || ls ~/benchmark_model"
_RUNNER = Path(__file__).with_name("runner.py")
# The limits are kept at the other end; what comes later than this beyond them is held up on the way.
_ON_THE_WAY_S = 30.0
# What ssh and the system still hold of an artifact that has been handed to them: megabytes, over a slow link.
_ARRIVAL_S = 180.0
_IDLE_S = 900.0
_RAISE = "Raise the limit in edgebuild.toml, [limits], if the network needs it."


def open_place(named: place.Place, limits: Limits, _folder: Path, say: Say = unheard) -> SshPlace:
    """A machine behind ssh, once no other call of this user measures there.

    Args:
        named: `ssh:user@host`, or another destination as ssh takes it.
        limits: what one request to a worker may take, without what the network takes.
        _folder: not used: there is nothing to keep.
        say: is told where it has to wait for its turn.

    Raises:
        UnavailableError: there is no ssh here; the machine cannot be reached or does not let us in; it was not our turn
            within `QUEUE_S`.
        StepError: the connection was cut.
    """
    made = SshPlace(named, limits, say)
    made.take_turn()
    return made


class SshPlace:
    """A machine behind ssh. Workers that live at the same time are held on the same core."""

    def __init__(self, named: place.Place, limits: Limits, say: Say) -> None:
        self._say = say
        self._named = named
        self._limits = limits
        self._python = os.environ.get(PYTHON_VARIABLE) or "python3"
        self._turn: Connection | Shell | None = None
        self._lacks: UnavailableError | None = None
        self._tool: Tool | None = None
        self._alive: set[_SshWorker | ToolWorker] = set()
        self._core: int | None = None

    @property
    def label(self) -> str:
        """As it is written in options, budgets and manifests."""
        return self._named.label

    @property
    def subject(self) -> Subject:
        """Seconds."""
        return Subject.LATENCY

    def start(self, artifact: Path, how: How) -> Worker:
        """Load an artifact in a fresh process there; see the Protocol.

        Raises:
            UnavailableError: the machine cannot be reached any more, or lacks a tool.
            StepError: there was no space, the connection was cut, or the interpreter refused the artifact, crashed,
                hung or broke its limits.
        """
        if self._turn is None or self._turn.is_over:
            self.take_turn()
        if self._lacks is None:
            try:
                return self._started(self._start_runner(artifact, how))
            except (_MissingError, NoPythonError) as error:
                self._lacks = error
        return self._started(self._start_tool(artifact, how))

    def close(self) -> None:
        """End the workers that are left and let the next call have its turn."""
        for worker in tuple(self._alive):
            with contextlib.suppress(StepError):
                worker.close()
        if self._turn is not None:
            self._turn.end()
            self._turn = None

    def take_turn(self) -> None:
        """Wait for the turn of this call, which lasts until the place is closed or the connection cut."""
        try:
            self._turn = self._connect()
        except NoPythonError as error:
            self._lacks = error
            self._turn = self._shell()
            self._turn.turn(_BASE, QUEUE_S, self._say)
        else:
            self._turn.turn(QUEUE_S, self._say)

    def _started(self, worker: _SshWorker | ToolWorker) -> Worker:
        self._alive.add(worker)
        return worker

    def _connect(self) -> Connection:
        return Connection(self._named.name, self._python)

    def _shell(self) -> Shell:
        host = self._named.name
        return Shell(open_dialogue(host, "sh"), host, lambda code, text, greeted: gone(host, code, text, greeted))

    def _start_runner(self, artifact: Path, how: How) -> _SshWorker:
        task = _Task(artifact, how, self._core if self._alive else None)
        worker = _SshWorker(self._connect(), self._named.name, task, self._limits, self._alive.discard)
        self._core = worker.loaded.core
        return worker

    def _start_tool(self, artifact: Path, how: How) -> ToolWorker:
        shell = self._shell()
        try:
            binary = shell.find(_TOOL)
            if not binary:
                raise self._nothing_runs()
            if self._tool is None:
                self._tool = Tool(self._named.name, shell.find(_MACHINE), self._limits)
            network = Network(artifact.name, f"{shell.room(_BASE)}/network.tflite", binary)
            self._upload(shell, artifact, network.artifact)
            return ToolWorker(shell, self._tool, network, how, self._alive.discard)
        except BaseException:
            shell.end()
            raise

    def _upload(self, shell: Shell, artifact: Path, there: str) -> None:
        data = artifact.read_bytes()
        try:
            ran = shell.run(f"head -c {len(data)} >{quoted(there)}", _UPLOAD_S, data)
        except TimeoutError:
            raise StepError(f"the connection to {self._named.name} is stuck", "Nothing moved any more.") from None
        if "No space left" in ran.text:
            raise _no_space(artifact.name, self._named.name, ran.text)
        if ran.code or shell.find(f"wc -c <{quoted(there)}") != str(len(data)):
            raise StepError(f"{artifact.name} could not be written on {self._named.name}", ran.text)

    def _nothing_runs(self) -> UnavailableError:
        assert self._lacks is not None
        return UnavailableError(
            f"{self._lacks.what}, and there is no {benchmark_model.NAME}",
            self._lacks.why,
            "On that machine: python3 -m venv ~/litert && ~/litert/bin/pip install ai-edge-litert; "
            f"here: export {PYTHON_VARIABLE}='~/litert/bin/python'.",
        )


class _MissingError(UnavailableError):
    """Python there lacks an interpreter of .tflite files."""


class _Task(NamedTuple):
    """What a worker is to load: the file, the kernels and threads, and the core that one thread is held on."""

    artifact: Path
    how: How
    core: int | None


class _SshWorker:
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
        self, connection: Connection, destination: str, task: _Task, limits: Limits, ended: Callable[[_SshWorker], None]
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
            return _MissingError(f"Python on {self._destination} has no LiteRT", text)
        if kind == "refused":
            kernels = self._task.how.kernels
            return StepError(f"LiteRT does not run {self._whose} with {kernels} kernels", text)
        if kind == "space":
            return _no_space(self._task.artifact.name, self._destination, text)
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
            return _MissingError(f"Python on {self._destination} lacks a package", text.strip().splitlines()[-1])
        return StepError(f"{interpreter} crashed ({ending(code, by_signal)})", text.strip())

    def _end(self) -> None:
        self._closing = self._closing or Closing()
        self._connection.end()
        self._ended(self)


def _no_space(artifact: str, machine: str, text: str) -> StepError:
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
