"""Place: where an artifact is run to be measured."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from edgebuild.core.plugin import Plugin
from edgebuild.core.target import Kernels


class PlaceKind(StrEnum):
    """The kinds of places there are: this machine, TensorFlow Lite Micro on it, devices, emulated cores, plug-ins'."""

    HOST = "host"
    TFLM = "tflm"
    SSH = "ssh"
    ADB = "adb"
    ARM64 = "arm64"
    PLUGIN = "plugin"


# Emulated cores whose results were found right. `max` computes wrong results with XNNPACK (its SME kernels).
CORES = ("cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1")
_WITHOUT_XNNPACK = "xnnpack=off"
# What ssh takes for a destination; nothing that its command line would read as an option.
_DESTINATION = re.compile(r"[A-Za-z0-9_.~%+@:\[\]/][\w.~%+@:\[\]/-]*")
_SERIAL = re.compile(r"[A-Za-z0-9][\w.:-]*")
FORMS = "host, host:xnnpack=off, tflm, ssh:user@host, adb, adb:SERIAL or arm64:CORE"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place to run artifacts.

    Attributes:
        name: ssh's destination, the device's serial number or the emulated core; empty where the kind says it all.
        kernels: that the place insists on; None for those of the artifact's target.
        plugin: what opens a device that another package brings; None for all others, and where it was only recorded.
    """

    kind: PlaceKind
    name: str = ""
    kernels: Kernels | None = None
    plugin: Plugin | None = None

    @property
    def label(self) -> str:
        """The place as it is written in options, budgets and manifests."""
        if self.kind == PlaceKind.HOST:
            return f"{self.kind}:{_WITHOUT_XNNPACK}" if self.kernels == Kernels.BUILTIN else str(self.kind)
        if self.kind == PlaceKind.PLUGIN:
            own = self.plugin.name if self.plugin is not None else ""
            return ":".join(filter(None, (own, self.name)))
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)

    @property
    def is_remote(self) -> bool:
        """Whether it is a device of its own, which does one thing at a time."""
        return self.kind in (PlaceKind.SSH, PlaceKind.ADB, PlaceKind.PLUGIN)

    @property
    def emulates(self) -> bool:
        """Whether it counts instructions and has no time of its own."""
        return self.kind == PlaceKind.ARM64


# How long a measurement waits for the turn of its device, in seconds; its own limits start afterwards.
QUEUE_S = 900.0
HERE = Place(kind=PlaceKind.HOST)


def read(label: str) -> Place:
    """The place of a label that was recorded: one that is not built in was a plug-in's, which may be gone."""
    try:
        return parse(label)
    except ValueError:
        return Place(kind=PlaceKind.PLUGIN, name=label)


def parse(text: str) -> Place:
    """The built-in place that a text names; `plugins.place` also knows those of plug-ins.

    Raises:
        ValueError: it names none; the message says what can be written.
    """
    kind, _, name = text.strip().partition(":")
    if kind == PlaceKind.HOST and name in ("", _WITHOUT_XNNPACK):
        return Place(kind=PlaceKind.HOST, kernels=Kernels.BUILTIN if name else None)
    if kind == PlaceKind.TFLM and not name:
        return Place(kind=PlaceKind.TFLM)
    if kind == PlaceKind.SSH and _DESTINATION.fullmatch(name):
        return Place(kind=PlaceKind.SSH, name=name)
    if kind == PlaceKind.ADB and (not name or _SERIAL.fullmatch(name)):
        return Place(kind=PlaceKind.ADB, name=name)
    if kind == PlaceKind.ARM64:
        return _core(name)
    raise ValueError(f"{text!r} is no place: write {FORMS}")


def _core(name: str) -> Place:
    if name == "max":
        raise ValueError(
            "the emulated core `max` computes wrong results with XNNPACK (its SME kernels): "
            f"write arm64:{' or arm64:'.join(CORES)}"
        )
    if name not in CORES:
        raise ValueError(f"arm64 needs one of these cores: {', '.join(CORES)}; write arm64:cortex-a72")
    return Place(kind=PlaceKind.ARM64, name=name)
