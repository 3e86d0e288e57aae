"""A machine behind ssh as a place.

It needs a POSIX shell and either Python 3.9 with ai-edge-litert (or tflite-runtime) or TFLite's `benchmark_model`, on
the PATH or in the home folder; of that there are no outputs. EDGEBUILD_SSH names another command than `ssh`, with
options, and EDGEBUILD_SSH_PYTHON another than `python3` at the other end, where a board's pip wants an environment.

Measurements of one user queue there: a connection of its own holds the lock for as long as the place is open.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.place import QUEUE_S
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.places import benchmark_model
from edgebuild.runtimes.places.benchmark_model import Network, Tool, ToolWorker
from edgebuild.runtimes.places.connection import Connection, NoPythonError, gone, open_dialogue
from edgebuild.runtimes.places.protocol import How, Worker
from edgebuild.runtimes.places.queueing import unheard
from edgebuild.runtimes.places.shell import Shell, quoted
from edgebuild.runtimes.places.ssh_worker import MissingError, SshWorker, Task, no_space

PYTHON_VARIABLE = "EDGEBUILD_SSH_PYTHON"
_UPLOAD_S = 900.0
_BASE = '"${TMPDIR:-/tmp}"'
_MACHINE = (
    "board=$(tr -d '\\0' </proc/device-tree/model 2>/dev/null || "
    "sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1); "
    'echo "$(uname -m), ${board:-unknown processor}, $(nproc) cores"'
)
_TOOL = "command -v benchmark_model || ls ~/benchmark_model"


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
        self._alive: set[SshWorker | ToolWorker] = set()
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
            except (MissingError, NoPythonError) as error:
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

    def _started(self, worker: SshWorker | ToolWorker) -> Worker:
        self._alive.add(worker)
        return worker

    def _connect(self) -> Connection:
        return Connection(self._named.name, self._python)

    def _shell(self) -> Shell:
        host = self._named.name
        return Shell(open_dialogue(host, "sh"), host, lambda code, text, greeted: gone(host, code, text, greeted))

    def _start_runner(self, artifact: Path, how: How) -> SshWorker:
        task = Task(artifact, how, self._core if self._alive else None)
        worker = SshWorker(self._connect(), self._named.name, task, self._limits, self._alive.discard)
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
            raise no_space(artifact.name, self._named.name, ran.text)
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
