"""An emulated 64-bit Arm core as a place: it gives the outputs of the real arm64 LiteRT, and counts its instructions.

QEMU knows what instructions do, not how long they take: there is no time here, and none can be made of the counts.
"""

from __future__ import annotations

import base64
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.arm64 import emulator, launching
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded, unheard

# Python settles within so many calls of an inference, each of which may cost some 1,500 instructions less than the one
# before: of a network as large as this that is nothing.
_SETTLING_CALLS = 24
_LARGE_INSTRUCTIONS = 64e6


def open_place(named: place.Place, limits: Limits, folder: Path, _say: Say = unheard) -> Arm64Place:
    """The emulated core of a name.

    Args:
        named: `arm64:CORE`.
        limits: what one request to a worker may take.
        folder: that the machine and logs are written into.
        _say: not used: nothing is waited for.

    Raises:
        UnavailableError: the emulation is not installed.
    """
    return Arm64Place(named, emulator.find(), limits, folder)


class Arm64Place:
    """An emulated core. Its system is started for the first worker; each worker is a fresh process of it."""

    def __init__(self, named: place.Place, found: emulator.Emulator, limits: Limits, folder: Path) -> None:
        self._named = named
        self._emulator = found
        self._limits = limits
        self._folder = Path(tempfile.mkdtemp(prefix="arm64-", dir=folder))
        self._guest: launching.Guest | None = None

    @property
    def label(self) -> str:
        """As it is written in options, budgets and manifests."""
        return self._named.label

    @property
    def subject(self) -> Subject:
        """Instructions."""
        return Subject.INSTRUCTIONS

    def start(self, artifact: Path, how: How) -> Arm64Worker:
        """Load an artifact in a fresh process, on one thread whatever is asked for; see the Protocol.

        Raises:
            UnavailableError: the emulator does not start, or lacks a package.
            StepError: the interpreter refused the artifact, crashed, hung or broke its limits.
        """
        if self._guest is None:
            self._guest = launching.Guest(self._emulator, self._named.name, self._folder)
        machine = f"emulated {self._named.name} (QEMU {self._emulator.version})"
        versions = {"qemu": self._emulator.version}
        worker = self._guest.start(artifact, artifact.name)
        return Arm64Worker(worker, artifact.name, str(how.kernels), self._limits, machine, versions)

    def close(self) -> None:
        """End the emulated system."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None
        shutil.rmtree(self._folder, ignore_errors=True)


class Arm64Worker:
    """An emulated process that has loaded one artifact and run it until its counts repeat.

    Args:
        process: that has nothing loaded yet.
        name: of the artifact.
        kernels: that run it.
        limits: of each request.
        machine: what the place is, for people.
        versions: of what is outside the guest.

    Raises:
        UnavailableError: there is no LiteRT in the guest.
        StepError: the interpreter refused the artifact, crashed, hung or broke its limits.
    """

    def __init__(
        self,
        process: launching.Worker,
        name: str,
        kernels: str,
        limits: Limits,
        machine: str,
        versions: dict[str, str],
    ) -> None:
        self._process = process
        self._name = name
        self._kernels = kernels
        self._limits = limits
        asked = {"artifact": process.artifact, "kernels": kernels, "threads": 1, "pin": False}
        told = self._ask("open", asked)
        told |= {"machine": machine, "versions": {**versions, **told["versions"]}, "core": None}
        self.loaded = msgspec.convert(told, Loaded)
        calls = math.ceil(_LARGE_INSTRUCTIONS / max(told["first"], 1))
        self._ask("block", {"time_s": limits.time_s, "most": min(calls, _SETTLING_CALLS)})

    def block(self, *, time_s: float, most: int) -> Block:
        """Count the instructions of single inferences for `time_s` seconds, at least one and at most `most`."""
        told = self._ask("block", {"time_s": time_s, "most": most})
        # The rest of what it tells is of the emulator's process.
        return Block(samples=tuple(told["samples"]), wall_s=told["wall_s"])

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Run samples, each from a state without memory of the one before; see the Protocol."""
        given = [[base64.b64encode(part).decode() for part in sample] for sample in samples]
        made = self._ask("outputs", {"samples": given})["samples"]
        return [[base64.b64decode(part) for part in sample] for sample in made]

    def close(self) -> Closing:
        """End the process; its memory is the emulator's, and tells nothing of an arm64 machine."""
        self._process.end()
        return Closing()

    def _ask(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        answer = self._process.ask({name: asked}, self._limits)
        if "error" in answer:
            self._process.end()
            self._refused(answer["error"]["kind"], answer["error"]["text"])
        told: dict[str, Any] = answer["ok"]
        return told

    def _refused(self, kind: str, text: str) -> NoReturn:
        if kind == "missing":
            raise UnavailableError("there is no LiteRT in the emulated system", text, f"Install it: {emulator.INSTALL}")
        raise StepError(f"LiteRT for arm64 does not run {self._name} with {self._kernels} kernels", text)
