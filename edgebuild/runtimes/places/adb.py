"""An Android device behind adb as a place: TFLite's `benchmark_model` runs there.

The tool is pushed where EDGEBUILD_BENCHMARK_MODEL names it here; else that of the device is taken, at
/data/local/tmp/benchmark_model. This path has never met a real device: it is tested against a program that stands in
for adb.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.place import QUEUE_S
from edgebuild.errors import EdgebuildError, StepError, UnavailableError
from edgebuild.process import Limits
from edgebuild.runtimes.places import benchmark_model
from edgebuild.runtimes.places.benchmark_model import Network, Tool, ToolWorker
from edgebuild.runtimes.places.dialogue import Dialogue
from edgebuild.runtimes.places.protocol import How, unheard
from edgebuild.runtimes.places.shell import Shell, quoted
from edgebuild.runtimes.tools import Ran

TOOL_VARIABLE = "EDGEBUILD_BENCHMARK_MODEL"
# Where adb's user may write and run programs.
BASE = "/data/local/tmp"

_ADB_S = 60.0
_PUSH_S = 900.0
_MACHINE = (
    'echo "$(getprop ro.product.cpu.abi), $(getprop ro.product.manufacturer) $(getprop ro.product.model), '
    '$(nproc) cores"'
)
_INSTALL = "Install it: apt install adb, or Android's platform-tools."
# What `adb devices` says of a device that is not ready.
_STATES = {
    "unauthorized": (
        "does not trust this machine",
        "Unlock its screen and allow USB debugging in the dialog that it shows.",
    ),
    "authorizing": ("is still deciding whether to trust this machine", "Try again in a moment."),
    "offline": ("is offline", "Plug it in anew, or: adb reconnect"),
    "no permissions": (
        "may not be opened by this user",
        "Add udev rules for it: apt install android-sdk-platform-tools-common",
    ),
    "bootloader": ("is in its bootloader", "Start Android on it: fastboot reboot"),
    "recovery": ("is in its recovery system", "Start Android on it: adb reboot"),
}


def open_place(named: place.Place, limits: Limits, _folder: Path, say: Say = unheard) -> AdbPlace:
    """A device behind adb, once no other call measures there.

    Args:
        named: `adb`, or `adb:SERIAL` where there are several devices.
        limits: what one run of the tool may take beside its inferences.
        _folder: not used: there is nothing to keep.
        say: is told where it has to wait for its turn.

    Raises:
        UnavailableError: there is no adb, or no device that is ready; it was not our turn within `QUEUE_S`.
        StepError: the device was lost.
    """
    made = AdbPlace(named, limits, say)
    made.take_turn()
    return made


class Listed(NamedTuple):
    """A line of `adb devices`: the serial number, and how the device is; "device" where it is ready."""

    serial: str
    state: str


def listed(text: str) -> list[Listed]:
    """Read what `adb devices` prints; what it says of its server and the heading are left out."""
    rows = [line.split("\t", 1) for line in text.splitlines() if "\t" in line]
    # "no permissions (user in plugdev group; are your udev rules wrong?); see [...]"
    return [Listed(serial.strip(), state.split("(")[0].split(";")[0].strip()) for serial, state in rows]


class AdbPlace:
    """A device behind adb. Calls queue where the device has a `flock`."""

    def __init__(self, named: place.Place, limits: Limits, say: Say) -> None:
        self._say = say
        self._named = named
        self._limits = limits
        self._serial = ""
        self._turn: Shell | None = None
        self._tool: Tool | None = None
        self._alive: set[ToolWorker] = set()

    @property
    def label(self) -> str:
        """As it is written in options, budgets and manifests."""
        return self._named.label

    @property
    def subject(self) -> Subject:
        """Seconds."""
        return Subject.LATENCY

    def start(self, artifact: Path, how: How) -> ToolWorker:
        """Push an artifact and the tool and run it once; see the Protocol.

        Raises:
            UnavailableError: the device is not ready any more, or there is no `benchmark_model`.
            StepError: there was no space, the device was lost, or the tool refused the artifact, crashed or hung.
        """
        if self._turn is None or self._turn.is_over:
            self.take_turn()
        shell = self._shell()
        try:
            room = shell.room(BASE)
            network = Network(artifact.name, f"{room}/network.tflite", self._tool_at(shell, room))
            self._push(artifact, network.artifact)
            if self._tool is None:
                self._tool = Tool(f"device {self._serial}", shell.find(_MACHINE), self._limits)
            worker = ToolWorker(shell, self._tool, network, how, self._alive.discard)
        except BaseException:
            shell.end()
            raise
        self._alive.add(worker)
        return worker

    def take_turn(self) -> None:
        """Choose the device and wait for the turn of this call, which lasts until the place is closed."""
        self._serial = self._choose()
        self._turn = self._shell()
        self._turn.turn(BASE, QUEUE_S, self._say)

    def close(self) -> None:
        """End the workers that are left and let the next call have its turn."""
        for worker in tuple(self._alive):
            worker.close()
        if self._turn is not None:
            self._turn.end()
            self._turn = None

    def _choose(self) -> str:
        """The serial number of the device that is meant, which is ready."""
        devices = listed(_adb("devices", time_s=_ADB_S).text)
        if self._named.name:
            devices = [device for device in devices if device.serial == self._named.name]
        if not devices:
            which = f"no device {self._named.name}" if self._named.name else "no device"
            raise UnavailableError(
                f"adb has {which}", remedy="Plug it in, allow USB debugging in its developer options, see: adb devices"
            )
        if len(devices) > 1:
            raise UnavailableError(
                f"adb has {len(devices)} devices",
                remedy=f"Name one: {' or '.join(f'adb:{device.serial}' for device in devices)}",
            )
        (device,) = devices
        if device.state != "device":
            is_so, remedy = _STATES.get(device.state, (f"is in the state {device.state!r}", "See: adb devices"))
            raise UnavailableError(f"device {device.serial} {is_so}", remedy=remedy)
        return device.serial

    def _shell(self) -> Shell:
        try:
            dialogue = Dialogue(["adb", "-s", self._serial, "shell", "sh"])
        except OSError:
            raise _no_adb() from None
        return Shell(dialogue, f"device {self._serial}", self._lost)

    def _tool_at(self, shell: Shell, room: str) -> str:
        """Where the tool is on the device, once it has been pushed if it is here."""
        here = os.environ.get(TOOL_VARIABLE)
        if here and not Path(here).is_file():
            raise UnavailableError(f"{TOOL_VARIABLE} names no file: {here}", remedy=f"{benchmark_model.INSTALL}.")
        if here:
            there = f"{room}/{benchmark_model.NAME}"
            self._push(Path(here), there)
            shell.run(f"chmod 700 {quoted(there)}", _ADB_S)
            return there
        there = f"{BASE}/{benchmark_model.NAME}"
        if not shell.find(f"[ -x {there} ] && echo found"):
            raise UnavailableError(
                f"there is no {benchmark_model.NAME} on device {self._serial}",
                f"It was looked for at {there}.",
                f"Get it ({benchmark_model.INSTALL}) and name the file in {TOOL_VARIABLE}.",
            )
        return there

    def _push(self, file: Path, there: str) -> None:
        ran = _adb("-s", self._serial, "push", str(file.resolve()), there, time_s=_PUSH_S)
        if "No space left" in ran.text:
            raise StepError(
                f"there is no space for {file.name} on device {self._serial}", ran.ending, f"Make room in {BASE}."
            )
        if ran.code:
            raise StepError(f"adb could not push {file.name} to device {self._serial}", ran.ending)

    def _lost(self, code: int, text: str, greeted: bool) -> EdgebuildError:
        if greeted:
            return StepError(f"device {self._serial} was lost (exit code {code})", text, "Measure again.")
        return UnavailableError(f"device {self._serial} gives no shell (exit code {code})", text, "See: adb devices")


def _no_adb() -> UnavailableError:
    return UnavailableError("there is no adb on the PATH", remedy=_INSTALL)


def _adb(*arguments: str, time_s: float) -> Ran:
    command = ["adb", *arguments]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=time_s,
            check=False,
        )
    except OSError:
        raise _no_adb() from None
    except subprocess.TimeoutExpired:
        raise StepError(f"adb {arguments[0]} did not end", remedy="Start its server anew: adb kill-server") from None
    return Ran(ended.returncode, ended.stdout.decode("utf-8", "replace"))
