"""The emulation of arm64 at work: installed once in a folder that all test processes share, or found where it is.

Needs the archives that APT and pip are configured for, and a C compiler; skips with the reason where one is missing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.layers import LayerKind, LayerShape, Padding
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.process import Limits
from edgebuild.runtimes.arm64 import emulator, installing
from edgebuild.runtimes.places.arm64 import Arm64Place, open_place
from edgebuild.runtimes.places.host import open_place as open_host
from edgebuild.runtimes.places.protocol import How, unheard
from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.slow

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=4_000_000_000)
HOW = How(Kernels.XNNPACK)
SAMPLES = 16
WIDTH, IN_CHANNELS, OUT_CHANNELS = 4, 24, 40


class Emulated(NamedTuple):
    """The folder of the installation, and what was told while it was made."""

    folder: Path
    told: list[str]


def _convolution(height: int) -> bytes:
    shape = LayerShape(
        kind=LayerKind.CONV_2D,
        height=height,
        width=WIDTH,
        in_channels=IN_CHANNELS,
        out_channels=OUT_CHANNELS,
        kernel=(3, 3),
        padding=Padding.SAME,
    )
    return timed_parts.artifact_of_layer(shape)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with pytest.MonkeyPatch.context() as patch:
        if emulator.FOLDER_VARIABLE not in os.environ:
            # The parent is of all processes of one test run; the installation takes its own lock.
            patch.setenv(emulator.FOLDER_VARIABLE, str(tmp_path_factory.getbasetemp().parent / "arm64"))
        told: list[str] = []
        try:
            installing.install(told.append)
        except (StepError, UnavailableError) as error:
            pytest.skip(f"the emulation of arm64 cannot be installed here: {error}")
        yield Emulated(emulator.folder(), told)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two int8 convolutions of which the second has 1 % more multiply-accumulates, and a file of neither."""
    folder = tmp_path_factory.mktemp("networks")
    made = {"base": _convolution(100), "more": _convolution(101), "damaged": _convolution(20)[:3000]}
    for name, data in made.items():
        (folder / f"{name}.tflite").write_bytes(data)
    return {name: folder / f"{name}.tflite" for name in made}


def _open(core: str, folder: Path, limits: Limits = LIMITS) -> Arm64Place:
    return open_place(place.parse(f"arm64:{core}"), limits, folder, unheard)


@pytest.fixture(scope="module")
def a72(emulated: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm64Place]:
    opened = _open("cortex-a72", tmp_path_factory.mktemp("a72"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def a76(emulated: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm64Place]:
    opened = _open("cortex-a76", tmp_path_factory.mktemp("a76-with-a-longer-path"))
    yield opened
    opened.close()


def _instructions(where: Arm64Place, artifact: Path) -> float:
    worker = where.start(artifact, HOW)
    try:
        return statistics.median(worker.block(time_s=1.0, most=5).samples)
    finally:
        worker.close()


def test_what_is_installed_is_recorded_with_the_digest_of_every_archive(emulated: Emulated) -> None:
    record = emulator.read(emulated.folder / "installed")
    assert record is not None
    assert any(name.startswith("ai_edge_litert") and "aarch64" in name for name in record.sha256)
    assert any(name.startswith("libc6_") and name.endswith("_arm64.deb") for name in record.sha256)
    assert all(len(digest) == 64 for digest in record.sha256.values())
    assert record.size_bytes > 50_000_000
    assert [path.name for path in emulated.folder.iterdir() if path.name.startswith("making-")] == []


def test_a_second_installation_waits_for_the_first_and_finds_it_done(emulated: Emulated) -> None:
    told: list[str] = []
    with (emulated.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=installing.install, args=(told.append,))
        second.start()
        deadline = time.monotonic() + PATIENCE_S
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told == ["wait for another installation"]
    second.join(timeout=PATIENCE_S)
    assert told[1:] == [f"the emulation of arm64 is there: {emulated.folder / 'installed'}"]


def test_a_place_says_what_it_is_and_gives_no_time(a72: Arm64Place, networks: dict[str, Path]) -> None:
    assert (a72.label, a72.subject) == ("arm64:cortex-a72", Subject.INSTRUCTIONS)
    worker = a72.start(networks["base"], HOW)
    loaded = worker.loaded
    assert loaded.machine.startswith("emulated cortex-a72 (QEMU ")
    assert set(loaded.versions) >= {"qemu", "ai-edge-litert"}
    block = worker.block(time_s=0.2, most=3)
    assert 1 <= len(block.samples) <= 3
    assert (block.cpu_s, block.preempted, block.probe_s, block.energy_j) == (None, None, None, None)
    assert loaded.load is not None
    assert loaded.first is not None
    # Eight int8 products are one instruction at best, and an inference is more than its products.
    macs = 100 * WIDTH * OUT_CHANNELS * 9 * IN_CHANNELS
    assert macs / 16 < block.samples[0] < loaded.first < macs * 4
    assert worker.close() == worker.close()
    assert worker.close().peak_memory_bytes is None


def test_counts_repeat_in_systems_started_anew_wherever_they_lie(
    a72: Arm64Place, networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _instructions(a72, networks["base"])
    monkeypatch.setenv("SOMETHING_LONG", "x" * 1000)
    elsewhere = tmp_path / ("x" * 60)
    elsewhere.mkdir()
    moved = elsewhere / "the same network.tflite"
    moved.write_bytes(networks["base"].read_bytes())
    again = _open("cortex-a72", elsewhere)
    try:
        after = [_instructions(again, moved), _instructions(again, moved)]
    finally:
        again.close()
    assert max(before, *after) / min(before, *after) - 1 < 0.0005
    assert list(elsewhere.iterdir()) == [moved]


def test_one_per_cent_more_work_is_told_apart_on_every_kind_of_kernel(
    a72: Arm64Place, a76: Arm64Place, networks: dict[str, Path]
) -> None:
    for where in (a72, a76):
        base, more = _instructions(where, networks["base"]), _instructions(where, networks["more"])
        assert 1.005 < more / base < 1.015


def test_a_core_with_dot_products_needs_fewer_instructions_at_the_same_time_as_one_without(
    a72: Arm64Place, a76: Arm64Place, networks: dict[str, Path]
) -> None:
    workers = [where.start(networks["base"], HOW) for where in (a72, a76)]
    counted = [statistics.median(worker.block(time_s=0.2, most=3).samples) for worker in workers for _ in range(2)]
    for worker in workers:
        worker.close()
    assert counted[0] == pytest.approx(counted[1], rel=5e-4)
    assert counted[2] == pytest.approx(counted[3], rel=5e-4)
    assert counted[2] < 0.7 * counted[0]


def test_two_processes_of_one_system_do_not_count_each_others_instructions(
    a72: Arm64Place, networks: dict[str, Path]
) -> None:
    alone = _instructions(a72, networks["base"])
    first, second = a72.start(networks["base"], HOW), a72.start(networks["more"], HOW)
    found: list[list[float]] = [[], []]
    threads = [
        threading.Thread(target=lambda w=w, f=f: f.extend(w.block(time_s=1.0, most=20).samples))  # type: ignore[misc]
        for w, f in zip((first, second), found, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    second.close()
    assert statistics.median(found[0]) == pytest.approx(alone, rel=5e-4)
    assert statistics.median(found[1]) == pytest.approx(alone * 1.01, rel=5e-3)


@pytest.mark.parametrize("kernels", [Kernels.XNNPACK, Kernels.REFERENCE])
def test_int8_outputs_are_bit_for_bit_those_of_this_machine(
    a72: Arm64Place, a76: Arm64Place, networks: dict[str, Path], tmp_path: Path, kernels: Kernels
) -> None:
    rng = np.random.default_rng(0)
    samples = [[rng.integers(-128, 128, 100 * WIDTH * IN_CHANNELS, np.int8).tobytes()] for _ in range(SAMPLES)]
    here = open_host(place.HERE, LIMITS, tmp_path).start(networks["base"], How(kernels))
    expected = here.outputs(samples)
    here.close()
    for where in (a72, a76):
        worker = where.start(networks["base"], How(kernels))
        assert worker.outputs(samples) == expected
        worker.close()
    assert len({answer[0] for answer in expected}) == SAMPLES


def test_a_damaged_file_is_refused_and_the_system_goes_on(a72: Arm64Place, networks: dict[str, Path]) -> None:
    with pytest.raises(StepError, match=r"damaged\.tflite"):
        a72.start(networks["damaged"], HOW)
    assert _instructions(a72, networks["base"]) > 0


def _process_of(where: Arm64Place) -> int:
    """The number of the last process that a place started."""
    assert where._guest is not None
    return next(reversed(where._guest._alive))


def test_an_interpreter_that_crashes_is_told_with_its_signal(a72: Arm64Place, networks: dict[str, Path]) -> None:
    worker = a72.start(networks["base"], HOW)
    os.kill(_process_of(a72), signal.SIGSEGV)
    with pytest.raises(StepError, match=r"emulated interpreter of base\.tflite crashed \(signal SIGSEGV\)"):
        worker.block(time_s=0.1, most=1)
    worker.close()
    assert _instructions(a72, networks["base"]) > 0


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(time_s=0.05, memory_bytes=4_000_000_000), "was not done after 50 ms"),
        (Limits(time_s=60, memory_bytes=1_000_000), "it took .*more than its 1.00 MB"),
    ],
    ids=["time", "memory"],
)
def test_an_interpreter_that_breaks_a_limit_is_ended(
    a72: Arm64Place, networks: dict[str, Path], limits: Limits, told: str
) -> None:
    worker = a72.start(networks["base"], HOW)
    process = _process_of(a72)
    os.kill(process, signal.SIGSTOP)
    worker._limits = limits
    with pytest.raises(StepError, match=told) as error:
        worker.block(time_s=0.1, most=1)
    assert "[limits]" in error.value.remedy
    assert not psutil.pid_exists(process)


def test_nothing_of_a_place_is_left_once_it_is_closed(
    emulated: Emulated, networks: dict[str, Path], tmp_path: Path
) -> None:
    where = _open("cortex-a53", tmp_path)
    left_open = where.start(networks["base"], HOW)
    assert left_open.block(time_s=0.1, most=1).samples
    process = psutil.Process(_process_of(where))
    system = process.parent()
    where.close()
    assert system is not None
    assert not system.is_running()
    psutil.wait_procs([process], timeout=PATIENCE_S)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list(tmp_path.iterdir()) == []
    with pytest.raises((StepError, UnavailableError)):
        left_open.block(time_s=0.1, most=1)


def test_a_system_that_was_killed_is_told(emulated: Emulated, networks: dict[str, Path], tmp_path: Path) -> None:
    where = _open("cortex-a53", tmp_path)
    worker = where.start(networks["base"], HOW)
    system = psutil.Process(_process_of(where)).parent()
    assert system is not None
    system.kill()
    psutil.Process(_process_of(where)).kill()
    with pytest.raises(UnavailableError, match="the emulated arm64 does not run"):
        worker.block(time_s=0.1, most=1)
    where.close()


def test_an_emulator_without_plugins_is_told_with_its_own_words(
    emulated: Emulated, networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu = tmp_path / "qemu"
    real = emulator.find()
    libraries = ":".join(map(str, real.libraries))
    qemu.write_text(
        f'#!/bin/sh\n[ "$3" != -plugin ] || {{ echo "qemu: unknown option -plugin" >&2; exit 1; }}\n'
        f'LD_LIBRARY_PATH={libraries} exec {real.qemu} "$@"\n'
    )
    qemu.chmod(0o755)
    monkeypatch.setenv(emulator.QEMU_VARIABLE, str(qemu))
    where = _open("cortex-a72", tmp_path)
    with pytest.raises(UnavailableError, match="does not run") as error:
        where.start(networks["base"], HOW)
    assert "unknown option -plugin" in error.value.why
    where.close()


def test_a_root_without_litert_is_told_with_the_package_that_it_lacks(
    emulated: Emulated, networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Named as the user's own, the root has no wheels: those that edgebuild installs lie apart from its Python.
    monkeypatch.setenv(emulator.ROOT_VARIABLE, str(emulated.folder / "installed" / "root"))
    where = _open("cortex-a72", tmp_path)
    with pytest.raises(UnavailableError, match="lacks a package") as error:
        where.start(networks["base"], HOW)
    assert "No module named 'numpy'" in error.value.why
    where.close()
