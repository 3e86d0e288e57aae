"""Making a calibration: the same artifacts counted in emulation and timed on a device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import calibration, hashing, host
from edgebuild.actions.measuring import Timing
from edgebuild.calibration import FEWEST, UnfitError, family_of
from edgebuild.core import place
from edgebuild.core.calibration import Calibration, Family, Point
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.settings import BenchSettings
from edgebuild.errors import StepError, UsageError
from edgebuild.execution.session import Session
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.pipeline import benching, demands
from edgebuild.pipeline.calibrations import LITERT
from edgebuild.pipeline.demands import Demand, Runnable

# What a machine that is no Arm calls itself.
_OTHERS = frozenset({"x86_64", "amd64", "i686", "i386", "x86", "riscv64", "ppc64le", "s390x"})
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_DIFFERENT = "Take networks of one kind that differ in size: several widths or input sizes of one architecture."


class Twice(NamedTuple):
    """An artifact, and what was measured of it in emulation and on the device."""

    path: Path
    counted: Timing
    timed: Timing


class Wanted(NamedTuple):
    """What is to be calibrated.

    Attributes:
        artifacts: of one family, at least `calibration.FEWEST` that differ.
        device: a real one.
        core: the emulated core that is like the device's.
        name: of the calibration; empty for one made of core and types.
    """

    artifacts: tuple[Runnable, ...]
    device: Place
    core: Place
    name: str = ""


def wanted(paths: Sequence[Path], device: str, core: str, name: str) -> Wanted:
    """What the user asks for, looked through before anything runs.

    Args:
        paths: .tflite files, manifests, or folders that were built into.
        device: a place, as `core.place` reads it.
        core: an emulated core: "cortex-a72", or "arm64:cortex-a72".
        name: of the calibration, or empty.

    Raises:
        UsageError: there is nothing at a path, or places and artifacts cannot make a calibration.
        StepError: an artifact is damaged.
        OSError: a file cannot be opened.
    """
    try:
        places = place.parse(device), place.parse(core if ":" in core else f"{PlaceKind.ARM64}:{core}")
    except ValueError as error:
        raise UsageError("that cannot be calibrated", str(error)) from None
    artifacts = tuple(known.item for path in paths for known in benching.find(path, None))
    found = Wanted(artifacts, *places, name)
    _require_usable(found)
    return found


def calibrate(asked: Wanted, bench: BenchSettings, session: Session) -> Calibration:
    """Measure each artifact in emulation and on the device, and find the line between.

    Args:
        asked: what is to be calibrated.
        bench: how to measure; one thread, as in emulation.
        session: where actions are done or found.

    Raises:
        UnavailableError: one of the places is not there.
        StepError: an artifact does not run, or the figures tell no line.
    """
    alone = replace(bench, threads=1, baseline="")
    measured = [
        Twice(
            item.path,
            _measured(item, asked.core, alone, session, again=False),
            _measured(item, asked.device, alone, session, again=True),
        )
        for item in asked.artifacts
    ]
    return concluded(measured, asked.device, asked.core, asked.name)


def concluded(measured: Sequence[Twice], device: Place, core: Place, name: str = "") -> Calibration:
    """The calibration that measured figures make.

    Raises:
        StepError: the device is no Arm, kernels or versions differ, or the figures tell no line.
    """
    _require_alike(measured, device, core)
    try:
        family = calibration.together([family_of(inspect(item.path.read_bytes(), item.path.name)) for item in measured])
        points = sorted(map(_point, measured), key=lambda point: point.instructions)
        calibration.fit(points)
        calibration.require_family(points)
    except UnfitError as error:
        raise StepError("these networks make no calibration", str(error), _DIFFERENT) from None
    first = measured[0]
    return Calibration(
        name=name or _named(core, family),
        core=core.name,
        place=device.label,
        machine=first.timed.machine,
        kernels=first.counted.kernels,
        litert=first.counted.versions.get(LITERT, ""),
        device_litert=first.timed.versions.get(LITERT, ""),
        family=family,
        points=tuple(points),
    )


def _require_usable(asked: Wanted) -> None:
    artifacts, device, core, name = asked
    if device.kind not in (PlaceKind.SSH, PlaceKind.ADB, PlaceKind.HOST):
        raise UsageError(f"{device.label} is no device", remedy="Name a real one: --on ssh:user@host, or adb.")
    if device.kind == PlaceKind.HOST:
        _require_arm(device, core, host.describe())
    if not core.emulates:
        raise UsageError(f"{core.label} is no emulated core", remedy="Write --core cortex-a72.")
    if name and not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a calibration", remedy="Use letters, digits, points and dashes.")
    different = {hashing.of_file(item.path) for item in artifacts}
    if len(different) < max(FEWEST, len(artifacts)):
        raise UsageError(
            f"a calibration needs at least {FEWEST} artifacts that all differ",
            f"{len(artifacts)} were named, {len(different)} of them differ",
            _DIFFERENT,
        )


def _measured(item: Runnable, where: Place, bench: BenchSettings, session: Session, *, again: bool) -> Timing:
    action = demands.measure(item, where, Demand(bench), session, of=item.path.name)
    return session.run(action, again=again).result.artifact


def _require_alike(measured: Sequence[Twice], device: Place, core: Place) -> None:
    """Refuse figures of which one says nothing of the other."""
    for item in measured:
        _require_arm(device, core, item.timed.machine)
        kernels = item.counted.kernels, item.timed.kernels
        if len(set(kernels)) > 1:
            raise StepError(
                f"{item.path.name} ran on {kernels[0]} kernels in emulation, and on {kernels[1]} on the device"
            )
        versions = item.counted.versions.get(LITERT, ""), item.timed.versions.get(LITERT, "")
        if all(versions) and len(set(versions)) > 1:
            raise StepError(
                f"LiteRT {versions[0]} is emulated, and the device has {versions[1]}",
                "kernels differ from version to version",
                f"On the device: pip install {LITERT}=={versions[0]}",
            )


def _require_arm(device: Place, core: Place, machine: str) -> None:
    """Refuse a device that is known to be of another kind; its description begins with its architecture."""
    architecture = machine.split(",", maxsplit=1)[0].strip()
    if architecture.lower() in _OTHERS:
        raise StepError(
            f"{device.label} is no arm64 machine, but {architecture}",
            f"its times say nothing of {core.label}",
            "Name an arm64 device.",
        )


def _point(item: Twice) -> Point:
    median_s = item.timed.statistics["median"]
    return Point(
        name=item.path.name,
        sha256=hashing.of_file(item.path),
        instructions=item.counted.statistics["median"],
        time_s=median_s,
        interval_s=item.timed.intervals.get("median", (median_s, median_s)),
    )


def _named(core: Place, family: Family) -> str:
    """The core and the types: "cortex-a72-int8", or "cortex-a72-float32-int8" for a mix."""
    types = dict.fromkeys(word for types in family.types for word in types.split(" x "))
    return "-".join([core.name, *types])
