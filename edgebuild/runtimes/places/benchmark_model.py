"""TFLite's `benchmark_model` on a device that has a shell: for phones, and for boards without Python.

The tool tells statistics of a run and keeps the single times to itself. A block is one run of it, a fresh process with
a warm-up of its own, and has one sample: the median of the run, or its mean where the tool tells no median or where the
median's microseconds are too coarse. Percentiles of such samples are not percentiles of inferences.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded
from edgebuild.runtimes.places.shell import Shell, quoted
from edgebuild.units import format_seconds

NAME = "benchmark_model"
INSTALL = "https://ai.google.dev/edge/litert/models/measurement has it for arm, arm64 and x86-64"
MEDIAN, MEAN = "median", "mean"

# The median is told in whole microseconds: of at least so many a rounding is half a percent.
_FINE_US = 100.0
# What a run does before and after its inferences: loading, and the tool's own warm-up of half a second.
_AROUND_S = 30.0
_LAST_LINES = 6
# The warm-up, and what is timed.
_RUNS = 2
_NUMBER = r"([0-9.eE+-]+)"
_RUN = re.compile(r"\bcount=(\d+) (.*)")
_VALUE = re.compile(rf"\b(\w+)={_NUMBER}")
_LOADED = re.compile(rf"Initialized session in {_NUMBER} ?ms")
# TensorFlow's tool, and LiteRT's; their MB are MiB.
_MEMORY = re.compile(rf"Memory footprint delta .*\boverall={_NUMBER}|Overall footprint:\s*{_NUMBER} MB")
_VERSION = re.compile(r"(?:TensorFlow|LiteRT) Version\s*:\s*(\S+)", re.IGNORECASE)
_UNKNOWN_FLAG = re.compile(r"Unconsumed cmdline flags:.*use_xnnpack")
_WITH_XNNPACK = re.compile(r"Created .*XNNPACK delegate", re.IGNORECASE)
_KILLED = 128 + signal.SIGKILL


class Report(NamedTuple):
    """What a run told.

    Attributes:
        init_s: loading.
        first_s: the first inference.
        inferences: how many inferences were timed.
        mean_s: of them.
        median_s: of them; None where the tool tells none.
        memory_bytes: how far the process grew; None where the system does not tell.
        version: of the tool; empty where it tells none.
    """

    init_s: float
    first_s: float
    inferences: int
    mean_s: float
    median_s: float | None
    memory_bytes: int | None
    version: str


def read(text: str) -> Report | None:
    """Read what the tool printed, TensorFlow's or LiteRT's; None where it did not get to the end."""
    loaded, runs = _LOADED.search(text), _RUN.findall(text)
    if loaded is None or len(runs) < _RUNS:
        return None
    warmup, timed = ({key: float(value) for key, value in _VALUE.findall(values)} for _, values in runs[-_RUNS:])
    # Of equal times there is but the last.
    if "curr" not in warmup or "curr" not in timed:
        return None
    memory, version = _MEMORY.search(text), _VERSION.search(text)
    return Report(
        init_s=float(loaded[1]) * 1e-3,
        first_s=warmup.get("first", warmup["curr"]) * 1e-6,
        inferences=int(runs[-1][0]),
        mean_s=timed.get("avg", timed["curr"]) * 1e-6,
        median_s=timed["median"] * 1e-6 if "median" in timed else None,
        memory_bytes=max(0, round(float(memory[1] or memory[2]) * 2**20)) if memory else None,
        version=version[1] if version else "",
    )


class Tool:
    """The tool on one device.

    Args:
        device: its name, for messages.
        machine: what it is, for people.
        limits: `time_s` is what a run may take beside its inferences; nothing holds the tool to `memory_bytes`.
    """

    def __init__(self, device: str, machine: str, limits: Limits) -> None:
        self.device = device
        self.machine = machine
        self.limits = limits
        # One kind for all that is compared.
        self.sample: str | None = None

    def choose(self, report: Report) -> str:
        """What samples are from here on: medians or means."""
        if self.sample is None:
            fine = report.median_s is not None and report.median_s * 1e6 >= _FINE_US
            self.sample = MEDIAN if fine else MEAN
        return self.sample


class Network(NamedTuple):
    """An artifact on a device: its name for messages, and where it and the tool are there."""

    name: str
    artifact: str
    binary: str


class ToolWorker:
    """An artifact that the tool runs; each block is a process of its own.

    Args:
        shell: on the device, which ends with the worker.
        tool: of the device.
        network: what is run.
        how: its kernels and threads; the tool is not held on a core.
        ended: is told when the worker has ended.

    Raises:
        UnavailableError: the tool has no such kernels.
        StepError: it refused the artifact, crashed or hung.
    """

    def __init__(
        self, shell: Shell, tool: Tool, network: Network, how: How, ended: Callable[[ToolWorker], None]
    ) -> None:
        self._ended = ended
        self._shell, self._tool, self._network, self._how = shell, tool, network, how
        self._memory_bytes: int | None = None
        self._closing: Closing | None = None
        if how.kernels == Kernels.REFERENCE:
            raise UnavailableError(f"{NAME} has no reference kernels", f"{tool.device} runs nothing else.")
        report = self._run("--num_runs=1 --min_secs=0 --warmup_runs=1 --warmup_min_secs=0", 0.0)
        self.loaded = Loaded(
            machine=f"{tool.machine}, {NAME}",
            sample=f"the {tool.choose(report)} of a run",
            kernels=str(how.kernels),
            versions={NAME: report.version or "unknown"},
            load=report.init_s,
            first=report.first_s,
        )

    def block(self, *, time_s: float, most: int) -> Block:  # noqa: ARG002 - of the Protocol
        """Run the tool once, for inferences of `time_s` seconds or a little more; one sample, whatever `most` is."""
        report = self._run(f"--num_runs=1 --min_secs={time_s:.6f}", time_s)
        median = report.median_s if self._tool.sample == MEDIAN else None
        sample_s = report.mean_s if median is None else median
        return Block(samples=(sample_s,), wall_s=report.inferences * report.mean_s)

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:  # noqa: ARG002 - as above
        """Outputs stay in the tool.

        Raises:
            UnavailableError: always.
        """
        raise UnavailableError(
            f"{NAME} keeps the outputs of {self._network.name} to itself",
            remedy="Outputs need Python and ai-edge-litert on the device, and ssh to it.",
        )

    def close(self) -> Closing:
        """End the shell, which removes the artifact; the second time it tells the same."""
        if self._closing is None:
            self._closing = Closing(peak_memory_bytes=self._memory_bytes)
            self._shell.end()
            self._ended(self)
        return self._closing

    def _run(self, flags: str, time_s: float) -> Report:
        most_s = self._tool.limits.time_s + time_s
        xnnpack = "true" if self._how.kernels == Kernels.XNNPACK else "false"
        command = (
            f"{quoted(self._network.binary)} --graph={quoted(self._network.artifact)} "
            f"--num_threads={self._how.threads} --use_xnnpack={xnnpack} {flags}"
        )
        # Where there is `timeout`, a run that hangs ends even if the line to it is cut.
        limited = f"$(command -v timeout >/dev/null && echo timeout -s KILL {most_s:.0f}) {command}"
        started = time.monotonic()
        try:
            code, text = self._shell.run(limited, most_s + _AROUND_S)
        except TimeoutError:
            raise self._hung(most_s) from None
        if code == _KILLED and time.monotonic() - started >= most_s:
            raise self._hung(most_s)
        report = read(text)
        if code or report is None or not self._has_kernels(text):
            raise self._refused(code, text)
        self._memory_bytes = max(self._memory_bytes or 0, report.memory_bytes or 0) or None
        return report

    def _has_kernels(self, text: str) -> bool:
        """Whether the tool ran those that were asked for: it goes on where it does not know the flag."""
        wanted = self._how.kernels == Kernels.XNNPACK
        return not _UNKNOWN_FLAG.search(text) or (wanted and _WITH_XNNPACK.search(text) is not None)

    def _hung(self, most_s: float) -> StepError:
        return StepError(
            f"{NAME} with {self._network.name} on {self._tool.device} was ended: it was not done after "
            f"{format_seconds(most_s)}",
            remedy="Raise the limit in edgebuild.toml, [limits], if the network needs it.",
        )

    def _refused(self, code: int, text: str) -> StepError | UnavailableError:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = "\n".join(lines[-_LAST_LINES:])
        whose = f"{self._network.name} on {self._tool.device}"
        if not self._has_kernels(text):
            return UnavailableError(
                f"the {NAME} of {self._tool.device} does not run {self._how.kernels} kernels",
                last,
                f"Take another: {INSTALL}.",
            )
        if code > 128:
            return StepError(f"{NAME} crashed with {whose} (signal {_signal(code - 128)})", last)
        return StepError(f"{NAME} does not run {whose} with {self._how.kernels} kernels (exit code {code})", last)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
