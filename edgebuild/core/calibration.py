"""Calibration: what an instruction takes on a real device, for one family of networks."""

from __future__ import annotations

import msgspec

from edgebuild.core.comparison import Interval


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """What networks have in common whose instructions cost alike.

    Attributes:
        types: of the operators that multiply: the element types of activations and weights, as "int8 x int8", sorted.
        operators: the kinds of all operators by BuiltinOperator name, sorted.
    """

    types: tuple[str, ...]
    operators: tuple[str, ...]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One network of a calibration.

    Attributes:
        name: of its file.
        sha256: of the file.
        instructions: of one inference, counted in emulation.
        time_s: the median latency on the device.
        interval_s: 95 % interval of that.
    """

    name: str
    sha256: str
    instructions: float
    time_s: float
    interval_s: Interval


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Times on a device beside instructions counted in emulation.

    Attributes:
        name: that the user gave it, or one made of core and types.
        core: that was emulated: "cortex-a72".
        place: the device, as `Place.label` writes it.
        machine: what the device is, for people.
        kernels: that ran in both.
        litert: the version of ai-edge-litert that was emulated.
        device_litert: that of the device; empty where it does not tell.
        points: the networks, by instructions.
    """

    name: str
    core: str
    place: str
    machine: str
    kernels: str
    litert: str
    device_litert: str = ""
    family: Family
    points: tuple[Point, ...]
