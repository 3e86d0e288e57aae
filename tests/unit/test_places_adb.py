"""The place behind adb, against a script that stands in for adb: no real device was ever at hand."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import benchmark_model_stand_in
import psutil
import pytest
from benchmark_model_stand_in import CLOCK, CRASH
from ssh_server import processes

from edgebuild.core import place
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.process import Limits
from edgebuild.runtimes.places import adb, table
from edgebuild.runtimes.places.adb import AdbPlace, Listed
from edgebuild.runtimes.places.protocol import How, unheard
from tests.conftest import PATIENCE_S

HOW = How(Kernels.XNNPACK)
LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=10**9)
HEADING = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\nList of devices attached\n"
# What adb does, as far as it is used: `devices`, and `push` and `shell` of the device that is named.
ADB = """\
#!/bin/sh
here=$(dirname "$0")
echo "$@" >>"$here/log"
[ "$1" = devices ] && { cat "$here/devices"; exit 0; }
[ "$1" = -s ] && [ "$2" = "$(cat "$here/serial")" ] || { echo "adb: device '$2' not found"; exit 1; }
shift 2
if [ "$1" = push ]; then
    full="adb: error: failed to copy '$2' to '$3': remote write failed: No space left on device"
    [ -e "$here/full" ] && { echo "$full"; exit 1; }
    cp "$2" "$3" && echo "$2: 1 file pushed, 0 skipped. 31.8 MB/s"
elif [ "$1" = shell ]; then
    shift
    exec "$@"
fi
"""


class Device:
    """The stand-in and the folder that is the device's."""

    def __init__(self, folder: Path) -> None:
        self.others = frozenset(processes())
        self.programs = folder / "programs"
        self.base = folder / "device"
        for made in (self.programs, self.base):
            made.mkdir(parents=True)
        self._write("adb", ADB)
        self._write("getprop", '#!/bin/sh\necho "of $1"\n')
        self.are("emulator-5554\tdevice")
        (self.programs / "serial").write_text("emulator-5554")
        self.tool = benchmark_model_stand_in.written(self.base)

    def are(self, *lines: str) -> None:
        """Let adb list devices."""
        (self.programs / "devices").write_text(HEADING + "".join(f"{line}\n" for line in lines) + "\n")

    def _write(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def processes(self) -> set[psutil.Process]:
        """Those that run for it."""
        return set(processes()) - self.others

    def is_clean(self) -> bool:
        """Whether nothing but the tool is left on it, and no process."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if {path.name for path in self.base.iterdir()} <= {
                "benchmark_model",
                CRASH,
                CLOCK,
            } and not self.processes():
                return True
            time.sleep(0.05)
        return False


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device(tmp_path)
    monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
    monkeypatch.delenv("EDGEBUILD_BENCHMARK_MODEL", raising=False)
    monkeypatch.setattr(adb, "BASE", str(made.base))
    return made


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    shape = LayerShape(kind=LayerKind.CONV_2D, in_channels=32, out_channels=32, kernel=(3, 3), height=32, width=32)
    path.write_bytes(timed_parts.artifact_of_layer(shape))
    return path


def opened(name: str = "adb") -> AdbPlace:
    found = table.open_place(place.parse(name), LIMITS, Path(), unheard)
    assert isinstance(found, AdbPlace)
    return found


@pytest.fixture
def there(device: Device) -> Iterator[AdbPlace]:
    made = opened()
    yield made
    made.close()
    assert device.is_clean()


def test_an_artifact_is_run_on_the_only_device(device: Device, there: AdbPlace, network: Path) -> None:
    (device.base / CLOCK).write_text("462")
    worker = there.start(network, HOW)
    assert worker.block(time_s=0.05, most=9).samples == pytest.approx((462e-6,))
    assert worker.loaded.machine.startswith("of ro.product.cpu.abi, of ro.product.manufacturer of ro.product.model, ")
    assert worker.close().peak_memory_bytes == 4.5 * 2**20
    assert there.label == "adb"


def test_the_tool_that_is_named_here_is_pushed(
    device: Device, there: AdbPlace, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.tool.unlink()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("EDGEBUILD_BENCHMARK_MODEL", str(benchmark_model_stand_in.written(tmp_path / "here")))
    assert there.start(network, HOW).block(time_s=0.01, most=1).samples


def test_a_tool_that_is_named_and_absent_is_told(
    device: Device, there: AdbPlace, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBUILD_BENCHMARK_MODEL", "/nonexistent")
    with pytest.raises(UnavailableError, match="EDGEBUILD_BENCHMARK_MODEL names no file: /nonexistent"):
        there.start(network, HOW)


def test_a_device_without_the_tool_is_told_how_to_get_it(device: Device, there: AdbPlace, network: Path) -> None:
    device.tool.unlink()
    with pytest.raises(UnavailableError, match="there is no benchmark_model on device emulator-5554") as caught:
        there.start(network, HOW)
    assert "EDGEBUILD_BENCHMARK_MODEL" in caught.value.remedy


def test_a_missing_adb_is_one_sentence(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="there is no adb on the PATH") as caught:
        opened().start(network, HOW)
    assert "apt install adb" in caught.value.remedy


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "adb has no device"),
        (["A1\tdevice", "B2\tdevice"], "adb has 2 devices"),
        (["A1\tunauthorized"], "device A1 does not trust this machine"),
        (["A1\toffline"], "device A1 is offline"),
        (["A1\tno permissions (user in plugdev group); see [http://d.android.com]"], "may not be opened by this user"),
        (["A1\tsideload"], "is in the state 'sideload'"),
    ],
)
def test_a_device_that_is_not_ready_is_told(device: Device, network: Path, lines: list[str], told: str) -> None:
    device.are(*lines)
    with pytest.raises(UnavailableError, match=told) as caught:
        opened().start(network, HOW)
    assert caught.value.remedy


def test_several_devices_need_a_serial_number(device: Device, network: Path) -> None:
    device.are("A1\tdevice", "emulator-5554\tdevice")
    named = opened("adb:emulator-5554")
    assert named.start(network, HOW).loaded.first
    named.close()
    with pytest.raises(UnavailableError, match="adb has no device C3"):
        opened("adb:C3").start(network, HOW)
    assert device.is_clean()


def test_a_full_device_is_a_failed_step(device: Device, there: AdbPlace, network: Path) -> None:
    (device.programs / "full").touch()
    with pytest.raises(StepError, match=r"there is no space for net\.tflite on device emulator-5554"):
        there.start(network, HOW)


def test_a_tool_that_crashes_is_a_failed_step(device: Device, there: AdbPlace, network: Path) -> None:
    (device.base / CRASH).touch()
    with pytest.raises(StepError, match=r"crashed with net\.tflite on device emulator-5554 \(signal SIGABRT\)"):
        there.start(network, HOW)


@pytest.mark.slow
def test_a_device_that_is_pulled_out_is_a_failed_step(device: Device, there: AdbPlace, network: Path) -> None:
    worker = there.start(network, HOW)
    shells = [process for process in device.processes() if process.name() == "sh"]
    for shell in shells:
        threading.Timer(0.3, shell.terminate).start()
    with pytest.raises(StepError, match="device emulator-5554 was lost"):
        worker.block(time_s=5, most=10**9)


@pytest.mark.slow
def test_a_second_call_waits_for_the_first(there: AdbPlace, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there.start(network, HOW)
    monkeypatch.setattr(adb, "QUEUE_S", 1.0)
    with pytest.raises(UnavailableError, match="device emulator-5554 is measuring for another call"):
        opened()
    there.close()
    other = opened()
    assert other.start(network, HOW).loaded.first
    other.close()


def test_what_adb_lists_is_read() -> None:
    text = HEADING + "R58\tno permissions; see [x]\n192.168.1.7:5555\tdevice\n"
    assert adb.listed(text) == [Listed("R58", "no permissions"), Listed("192.168.1.7:5555", "device")]
