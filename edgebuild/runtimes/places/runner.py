"""The program that runs one artifact in LiteRT's interpreter wherever there is Python: here, behind ssh, emulated.

It is sent to other machines as this one file, so it leans on the standard library, numpy and LiteRT's wheel alone and
keeps to Python 3.9. As a program it answers a JSON line for each JSON line, until told to close or its input ends:

    {"open": {"artifact": PATH, "kernels": "xnnpack", "threads": 1, "pin": true, "core": null, "limit_s": null}}
        -> {"ok": {"machine", "kernels", "versions", "load", "first", "core"}}
    {"block": {"time_s": 0.05, "most": 100}}
        -> {"ok": {"samples", "wall_s", "cpu_s", "preempted", "probe_s", "energy_j"}}
    {"outputs": {"samples": [[base64 for each input], ...]}} -> {"ok": {"samples": [[base64 for each output], ...]}}
    {"close": {}} -> {"ok": {"peak_memory_bytes": n or null}}

or {"error": {"kind": "refused" | "missing" | "bug", "text": ...}}: the interpreter refused, there is none, a mistake.
`core` asks for that core rather than the idlest; a request that takes longer than `limit_s` ends the process (SIGALRM),
so that an inference that hangs outlives no connection. Answers go to what was the standard output at the start; what
libraries print goes to the standard error.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

try:
    import resource
except ImportError:  # a minimal Python may lack it
    resource = None  # type: ignore[assignment]

# Where an interpreter may come from: the distribution, and its module with Interpreter and OpResolverType.
_WHEELS = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)
_RESOLVERS = {
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
# How long cores are watched to find the idlest: a core's time is counted in hundredths of a second.
_LOOK_S = 0.05
_PROBE_ROUNDS = 10_000
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")
_STAT = Path("/proc/stat")
_BOARD = Path("/proc/device-tree/model")
_CPU_INFO = Path("/proc/cpuinfo")
_POWERCAP = Path("/sys/class/powercap")
_HWMON = Path("/sys/class/hwmon")

# What the place has counted so far, in its own unit: asked around single inferences, and around loading. A program
# that counts something else puts its own functions in their place, and in that of `probe_s`, before it calls `main`.
mark_start = time.perf_counter
mark_end = time.perf_counter


class Refusal(Exception):  # noqa: N818 - refusing is an answer
    """The interpreter does not run the artifact; the text is its own reason."""


class Missing(Exception):  # noqa: N818 - as above
    """There is no interpreter on this machine."""


_KINDS = {"refused": (Refusal, MemoryError), "missing": (Missing,)}


def probe_s() -> float:
    """Seconds of a fixed piece of work in a register or two: it tells how fast the core is, whatever memory does."""
    started = time.perf_counter()
    state = 1
    for _ in range(_PROBE_ROUNDS):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return time.perf_counter() - started


class LiteRT:
    """An artifact in LiteRT's interpreter.

    Args:
        artifact: the path of a .tflite file.
        kernels: "xnnpack", "builtin" or "reference".
        threads: that it may use.

    Raises:
        Missing: there is no interpreter here.
    """

    def __init__(self, artifact: str, kernels: str, threads: int) -> None:
        wheel, self._module = _wheel()
        self.kernels = kernels
        self.versions = {wheel: importlib.metadata.version(wheel)}
        self._artifact, self._threads = artifact, threads

    def load(self) -> None:
        """Make it ready for its inputs."""
        self._interpreter: Any = self._module.Interpreter(
            model_path=self._artifact,
            num_threads=self._threads,
            experimental_op_resolver_type=getattr(self._module.OpResolverType, _RESOLVERS[self.kernels]),
        )
        self._interpreter.allocate_tensors()

    def fill(self) -> None:
        """Give it its random inputs; they stay there while it runs."""
        rng = np.random.default_rng(0)
        for details in self._interpreter.get_input_details():
            values = random_values(rng, details["shape"], np.dtype(details["dtype"]))
            self._interpreter.set_tensor(details["index"], values)

    def ready(self) -> None:
        """What each inference needs before it and is not counted with it: nothing."""

    def invoke(self) -> None:
        """Run it once."""
        self._interpreter.invoke()

    def run(self, sample: list[bytes]) -> list[bytes]:
        """What each output stores, given what each input does; state is carried over as in use."""
        interpreter = self._interpreter
        for position, details in enumerate(interpreter.get_input_details()):
            values = np.frombuffer(sample[position], details["dtype"]).reshape(details["shape"])
            interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        return [interpreter.get_tensor(details["index"]).tobytes() for details in interpreter.get_output_details()]


class Runner:
    """A network that was loaded and has been run once, with inputs that are the same each time.

    Args:
        network: not loaded yet: `LiteRT`, or what has its methods.
        core: what `hold_on_cores` returned.

    Raises:
        Refusal: the interpreter does not run the artifact.
    """

    def __init__(self, network: Any, core: int | None = None) -> None:
        self._network = network
        self._core = core
        self._meters = Meters()
        self._before = _reset_peak_bytes()
        with _refusals():
            start = mark_start()
            network.load()
            self.load = mark_end() - start
            network.fill()
            network.ready()
            start = mark_start()
            network.invoke()
            self.first = mark_end() - start
        self._is_timed = True

    def describe(self) -> dict[str, Any]:
        """What `open` answers."""
        return {
            "machine": machine(),
            "kernels": self._network.kernels,
            "versions": {**self._network.versions, "python": platform.python_version()},
            "load": self.load,
            "first": self.first,
            "core": self._core,
        }

    def block(self, time_s: float, most: int) -> dict[str, Any]:
        """Run inferences for so many seconds, at least one and at most `most`; what `block` answers."""
        probed_s = probe_s()
        energy, cpu_s, preempted = self._meters.read_uj(), time.process_time(), _preempted()
        started = time.perf_counter()
        self._is_timed = True
        with _refusals(), _without_collecting():
            samples = self._samples(started + time_s, most)
        wall_s = time.perf_counter() - started
        after = _preempted()
        return {
            "samples": samples,
            "wall_s": wall_s,
            "cpu_s": time.process_time() - cpu_s,
            "preempted": None if preempted is None or after is None else after - preempted,
            "probe_s": probed_s,
            "energy_j": self._meters.since_j(energy),
        }

    def outputs(self, samples: list[list[bytes]]) -> list[list[bytes]]:
        """For each sample what each output stores, given what each input does; state is carried over as in use.

        The first one after inferences that were timed finds no state: these left there what they made of random inputs.
        """
        with _refusals():
            if self._is_timed:
                self._network.load()
                self._is_timed = False
            answers = [self._network.run(sample) for sample in samples]
            self._network.fill()
        return answers

    def peak_memory_bytes(self) -> int | None:
        """How far loading and running raised the peak of resident memory; None where the system does not tell."""
        peak = _peak_bytes()
        return None if peak is None or self._before is None else max(0, peak - self._before)

    def _samples(self, end: float, most: int) -> list[float]:
        samples: list[float] = []
        ready, invoke, clock = self._network.ready, self._network.invoke, time.perf_counter
        while not samples or (len(samples) < most and clock() < end):
            ready()
            start = mark_start()
            invoke()
            samples.append(mark_end() - start)
        return samples


def random_values(rng: np.random.Generator, shape: Any, dtype: np.dtype[Any]) -> Any:
    """Values for an input, spread evenly over [0, 1); zeros and ones where it stores integers."""
    return (rng.random(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)


def open_runner(artifact: str, kernels: str, threads: int = 1, pin: bool = True, core: int | None = None) -> Runner:
    """What `open` does: hold this process on cores if it is to be, and load the artifact into LiteRT's interpreter."""
    held = hold_on_cores(threads, core) if pin else None
    return Runner(LiteRT(artifact, kernels, threads), held)


def machine() -> str:
    """The machine in a line: architecture, board or processor, cores."""
    board = _text(_BOARD).strip("\0\n ")
    names = [line.partition(":")[2].strip() for line in _text(_CPU_INFO).splitlines() if line.startswith("model name")]
    processor = board or (names[0] if names else platform.processor()) or "unknown processor"
    return f"{platform.machine()}, {processor}, {os.cpu_count()} cores"


def hold_on_cores(threads: int, core: int | None) -> int | None:
    """Hold this process on as many cores as it has threads: the one asked for, or those that have least to do.

    Returns:
        The core of a process with one thread; None for several, or where the system does not allow it.
    """
    try:
        allowed = sorted(os.sched_getaffinity(0))
        if threads >= len(allowed) and threads > 1:
            return None
        chosen = [core] if core in allowed and threads == 1 else _idlest(allowed)[:threads]
        os.sched_setaffinity(0, chosen)
    except (AttributeError, OSError, ValueError):  # macOS cannot; a container may forbid it or hide the counters
        return None
    return chosen[0] if threads == 1 else None


def _idlest(cores: list[int]) -> list[int]:
    """The cores by how long each was idle within a short look."""
    if len(cores) == 1:
        return cores
    before = idle_ticks(_STAT.read_text())
    time.sleep(_LOOK_S)
    return by_idleness(cores, before, idle_ticks(_STAT.read_text()))


def by_idleness(cores: list[int], before: dict[int, int], after: dict[int, int]) -> list[int]:
    """The cores, that which was idle for the longest between two readings first; of equals the last one.

    The system gives interrupts, and what it starts, to the first core before others.
    """
    return sorted(cores, key=lambda core: (after.get(core, 0) - before.get(core, 0), core), reverse=True)


def idle_ticks(stat: str) -> dict[int, int]:
    """For each core how long it was idle since the start, in ticks, from /proc/stat; waiting for a disk is idling."""
    lines = [line.split() for line in stat.splitlines()]
    return {int(name[3:]): int(counts[3]) + int(counts[4]) for name, *counts in lines if name[:3] == "cpu" != name}


class Meters:
    """The energy counters that this process may read; they count microjoules of all that uses the device."""

    def __init__(self, powercap: Path = _POWERCAP, hwmon: Path = _HWMON) -> None:
        # Packages only, since their zones (intel-rapl:0:1) are parts of them; and sockets rather than their cores.
        packages = [path for path in powercap.glob("*-rapl:*/energy_uj") if path.parent.name.count(":") == 1]
        sensors = [path for path in hwmon.glob("*/energy*_input") if not _text(_label(path)).startswith("Ecore")]
        self._counters = [path for path in packages or sensors if _number(path) is not None]

    def read_uj(self) -> list[int | None]:
        """What the counters say now."""
        return [_number(counter) for counter in self._counters]

    def since_j(self, before: list[int | None]) -> float | None:
        """Joules since a reading; None where there is no counter, or one fell silent."""
        spent_uj = 0
        for counter, first, last in zip(self._counters, before, self.read_uj()):  # noqa: B905 - no strict in Python 3.9
            wraps_at = _number(counter.parent / "max_energy_range_uj") or 0
            if first is None or last is None or (last < first and not wraps_at):
                return None
            spent_uj += last - first + (wraps_at if last < first else 0)
        return spent_uj * 1e-6 if self._counters else None


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until one closes or there are no more."""
    runner: Runner | None = None
    limit_s = 0.0
    for line in requests:
        try:
            ((name, asked),) = json.loads(line).items()
            if name == "open":
                limit_s = asked.pop("limit_s", None) or 0.0
            _alarm(limit_s)
            if name == "open":
                runner = open_runner(**asked)
            assert runner is not None, "nothing is open"
            answer = {"ok": _answer(runner, name, asked)}
        except Exception as error:
            kind = next((kind for kind, errors in _KINDS.items() if isinstance(error, errors)), "bug")
            text = traceback.format_exc() if kind == "bug" else str(error) or "there is not enough memory"
            answer = {"error": {"kind": kind, "text": text}}
        _alarm(0.0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if '"close"' in line[:12]:
            return


def main() -> None:
    """Serve over the standard streams, out of the way of what libraries print."""
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        serve(requests, answers)
        # Interpreters of damaged files may end the process while they are taken down; everything has been said.
        answers.flush()
        os._exit(0)


def _answer(runner: Runner, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    if name == "open":
        return runner.describe()
    if name == "block":
        return runner.block(asked["time_s"], asked["most"])
    if name == "outputs":
        given = [[base64.b64decode(part) for part in sample] for sample in asked["samples"]]
        made = runner.outputs(given)
        return {"samples": [[base64.b64encode(part).decode() for part in sample] for sample in made]}
    if name == "close":
        return {"peak_memory_bytes": runner.peak_memory_bytes()}
    raise ValueError(f"no such request: {name}")


def _alarm(limit_s: float) -> None:
    """Let the system end this process in so many seconds; 0 to call that off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limit_s)


def _wheel() -> tuple[str, Any]:
    """The first distribution with an interpreter that is installed and loads, and its module."""
    reasons = []
    for distribution, module in _WHEELS:
        try:
            importlib.metadata.version(distribution)
            return distribution, importlib.import_module(module)
        except ImportError as error:  # includes PackageNotFoundError
            reasons.append(f"{distribution}: {error}")
    raise Missing("; ".join(reasons))


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Without Python's garbage collector, which strikes when it likes."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise Refusal(str(error)) from None


def _preempted() -> int | None:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else None


def _reset_peak_bytes() -> int | None:
    """Start the peak anew where Linux allows it; the resident bytes now."""
    with contextlib.suppress(OSError):
        _RESET_PEAK.write_text("5")
    return _status_bytes("VmRSS") or _peak_bytes()


def _peak_bytes() -> int | None:
    peak = _status_bytes("VmHWM")
    if peak is not None or resource is None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status_bytes(key: str) -> int | None:
    lines = [line for line in _text(_STATUS).splitlines() if line.startswith(f"{key}:")]
    return int(lines[0].split()[1]) * 1024 if lines else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _label(counter: Path) -> Path:
    return counter.with_name(counter.name.replace("_input", "_label"))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    main()
