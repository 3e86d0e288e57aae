"""What of this machine edgebuild can use. Nothing heavy is imported: packages are asked for their versions alone."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from edgebuild import host, plugins
from edgebuild.core.facility import Facility
from edgebuild.core.place import CORES
from edgebuild.errors import EdgebuildError, UsageError
from edgebuild.execution import connection
from edgebuild.runtimes import tools
from edgebuild.runtimes.arm64 import emulator, installing
from edgebuild.runtimes.places import adb
from edgebuild.runtimes.tflm import wheel
from edgebuild.units import format_bytes

ARM64 = "arm64 emulation"
# As pyproject.toml has it.
_PYTHONS = ((3, 11), (3, 14))
_TRAINING = ("tensorflow", "keras", "tf-keras", "tensorflow-model-optimization")
# A build of a large network keeps about so much.
_ROOM_BYTES = 2_000_000_000
_ALIVE_S = 10.0
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
# Above it a user may not count what his own processes do.
_MOST_PARANOID = 2
_POWERCAP = Path("/sys/class/powercap")


def examine(store: Path) -> tuple[Facility, ...]:
    """Everything that there is to say, the most needed first.

    Args:
        store: the folder where edgebuild keeps what it made.
    """
    return (
        _python(),
        _package("TensorFlow and Keras", _TRAINING, "reads, trains and converts networks", "pip install edgebuild"),
        _package("LiteRT", ("ai-edge-litert",), "runs artifacts on this machine", "pip install ai-edge-litert"),
        _package("TensorFlow Lite Micro", ("tflite-micro",), "runs artifacts as firmware does; arenas", wheel.INSTALL),
        _package("Ray", ("ray",), "lets a cluster help (--on-cluster)", connection.INSTALL),
        _package("Vela", ("ethos-u-vela",), "compiles for Ethos-U", tools.VELA_INSTALL),
        _program(tools.EDGETPU, "compiles for the Edge TPU", tools.EDGETPU_INSTALL, ("--version",)),
        _program("g++", "builds what is handed over for microcontrollers", "sudo apt-get install g++"),
        _program("arm-none-eabi-g++", "the same for Cortex-M", "sudo apt-get install gcc-arm-none-eabi"),
        _program("ssh", "measures on machines elsewhere", "sudo apt-get install openssh-client", ("-V",)),
        _program("adb", "measures on Android devices", "sudo apt-get install adb, or Android's platform-tools"),
        _benchmark_model(),
        _arm64(),
        _store(store),
        _pinning(),
        _perf(),
        _energy(),
        *_plugins(),
    )


def _plugins() -> Iterator[Facility]:
    """The plug-ins that packages bring."""
    for group, name, found in plugins.installed():
        called = f"{group.one} {name}"
        if isinstance(found, UsageError):
            detail = f"{found.what}: {found.why}" if found.why else found.what
            yield Facility(name=called, is_there=False, detail=detail, use="is a plug-in", remedy=found.remedy)
        else:
            yield Facility(
                name=called, is_there=True, detail=f"{found.plugin.package} {found.plugin.version}", use="is a plug-in"
            )


def install_arm64(say: Callable[[str], None]) -> None:
    """Install the emulation of arm64; progress goes to `say`.

    Raises:
        UnavailableError: a tool is missing.
        StepError: something could not be downloaded, is not what its index says, or does not run.
    """
    installing.install(say)


def _python() -> Facility:
    lowest, above = _PYTHONS
    return Facility(
        name="Python",
        is_there=lowest <= sys.version_info[:2] < above,
        detail=f"{platform.python_version()}, {host.describe()}",
        use="runs edgebuild",
        remedy=""
        if lowest <= sys.version_info[:2] < above
        else f"Use Python {'.'.join(map(str, lowest))} or newer, before {'.'.join(map(str, above))}.",
    )


def _package(name: str, packages: tuple[str, ...], use: str, install: str) -> Facility:
    found = host.versions(packages)
    missing = [package for package in packages if package not in found]
    detail = ", ".join(f"{package} {version}" for package, version in found.items())
    if not missing:
        return Facility(name=name, is_there=True, detail=detail, use=use)
    return Facility(
        name=name,
        is_there=False,
        detail=f"{', '.join(missing)} not installed",
        use=use,
        remedy=f"Install it: {install}",
    )


def _program(name: str, use: str, install: str, version: tuple[str, ...] = ("--version",)) -> Facility:
    path = shutil.which(name)
    if path is None:
        return Facility(name=name, is_there=False, detail="not on the PATH", use=use, remedy=f"Install it: {install}")
    said = _first_line([path, *version])
    return Facility(name=name, is_there=said is not None, detail=said or f"{path} does not answer", use=use)


def _first_line(command: list[str]) -> str | None:
    """What a program says first; None where it does not run."""
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ALIVE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = ran.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[0].strip() if lines else command[0]


def _benchmark_model() -> Facility:
    named = os.environ.get(adb.TOOL_VARIABLE, "")
    found = named if named and Path(named).is_file() else None
    missing = f"{adb.TOOL_VARIABLE} names no file: {named}" if named else f"{adb.TOOL_VARIABLE} is not set"
    return Facility(
        name="benchmark_model",
        is_there=found is not None,
        detail=found or missing,
        use="pushed to Android devices that have none",
        remedy=""
        if found
        else f"Download TFLite's benchmark_model for the device, and name it in {adb.TOOL_VARIABLE}.",
    )


def _arm64() -> Facility:
    use = f"outputs and instructions of {', '.join(CORES)}"
    try:
        found = emulator.find()
        emulator.counting_plugin(found.version)
    except EdgebuildError as error:
        return Facility(name=ARM64, is_there=False, detail=error.what, use=use, remedy=error.remedy)
    record = emulator.read(emulator.installed_folder())
    what = f"QEMU {found.version}"
    if record is not None:
        what += f", LiteRT {record.litert}, {format_bytes(record.size_bytes)} in {emulator.installed_folder()}"
    return Facility(name=ARM64, is_there=True, detail=what, use=use)


def _store(folder: Path) -> Facility:
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    room = f"{format_bytes(free)} free" if writable else "not writable"
    return Facility(
        name="store",
        is_there=writable and free >= _ROOM_BYTES,
        detail=f"{folder}, {room}",
        use="keeps what steps made",
        remedy="" if writable and free >= _ROOM_BYTES else "Make room, or name another folder in EDGEBUILD_STORE.",
    )


def _pinning() -> Facility:
    use = "steadier latencies"
    try:
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, allowed)
    except (AttributeError, OSError) as error:
        return Facility(name="core pinning", is_there=False, detail=f"the system does not allow it: {error}", use=use)
    return Facility(name="core pinning", is_there=True, detail=f"{len(allowed)} cores", use=use)


def _perf() -> Facility:
    use = "counters of the processor, for tools beside edgebuild"
    try:
        level = int(_PARANOID.read_text())
    except (OSError, ValueError):
        return Facility(name="perf counters", is_there=False, detail="this system has none", use=use)
    return Facility(
        name="perf counters",
        is_there=level <= _MOST_PARANOID,
        detail=f"perf_event_paranoid is {level}",
        use=use,
        remedy="" if level <= _MOST_PARANOID else f"sudo sysctl kernel.perf_event_paranoid={_MOST_PARANOID}",
    )


def _energy() -> Facility:
    use = "energy of an inference"
    counters = sorted(_POWERCAP.glob("*-rapl:*/energy_uj"))
    readable = [counter for counter in counters if os.access(counter, os.R_OK)]
    if readable:
        return Facility(name="energy counters", is_there=True, detail=f"{len(readable)} of the processor", use=use)
    if counters:
        remedy = f"sudo chmod a+r {_POWERCAP}/*-rapl:*/energy_uj"
        return Facility(name="energy counters", is_there=False, detail="not readable", use=use, remedy=remedy)
    return Facility(name="energy counters", is_there=False, detail="this machine has none that Linux shows", use=use)
