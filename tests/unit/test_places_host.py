"""This machine as a place: real interpreters in processes with limits, and every way in which they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile_networks
import numpy as np
import psutil
import pytest

from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError
from edgebuild.process import Limits
from edgebuild.runtimes.places.host import HostPlace
from edgebuild.runtimes.places.protocol import How, Place, unheard
from edgebuild.runtimes.places.table import open_place
from tests.conftest import PATIENCE_S

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=10**9)
XNNPACK = How(Kernels.XNNPACK)


def _may_pin() -> bool:
    """Whether processes can be held on cores here: some systems cannot, and some containers may not."""
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return False
    return True


MAY_PIN = _may_pin()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    places: list[Place] = []

    def open_(name: str, limits: Limits = LIMITS) -> Place:
        places.append(open_place(place.parse(name), limits, tmp_path, unheard))
        return places[-1]

    yield open_
    for one in places:
        one.close()
    assert _interpreters() == []


def _interpreters() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "places.serving" in str(child.cmdline())]


def test_a_worker_tells_what_it_is_and_what_inferences_cost(opened: Callable[..., Place], tmp_path: Path) -> None:
    host = opened("host")
    assert isinstance(host, HostPlace)
    assert (host.label, host.subject) == ("host", Subject.LATENCY)
    worker = host.start(hostile_networks.relu(tmp_path / "net.tflite"), XNNPACK)
    assert worker.loaded.kernels == "xnnpack"
    assert set(worker.loaded.versions) == {"ai-edge-litert", "python"}
    assert worker.loaded.load
    assert worker.loaded.first
    block = worker.block(time_s=60, most=7)
    assert len(block.samples) == 7
    assert all(0 < sample < block.wall_s for sample in block.samples)
    assert block.cpu_s is not None
    assert block.probe_s
    peak_bytes = worker.close().peak_memory_bytes
    assert peak_bytes is not None
    assert worker.close().peak_memory_bytes == peak_bytes


def test_a_block_ends_with_its_time_but_not_before_one_inference(opened: Callable[..., Place], tmp_path: Path) -> None:
    worker = opened("host").start(hostile_networks.relu(tmp_path / "net.tflite"), XNNPACK)
    assert len(worker.block(time_s=0.0, most=1000).samples) == 1
    assert len(worker.block(time_s=0.02, most=10**9).samples) < 10**9
    assert len(worker.block(time_s=PATIENCE_S, most=3).samples) == 3


def test_memory_is_that_of_the_network(opened: Callable[..., Place], tmp_path: Path) -> None:
    host = opened("host")
    peaks = []
    for size in (4, 5_000_000):
        path = hostile_networks.relu(tmp_path / f"{size}.tflite", size)
        peaks.append(host.start(path, XNNPACK).close().peak_memory_bytes or 0)
    assert peaks[1] - peaks[0] >= 2 * 4 * 5_000_000


@pytest.mark.skipif(not MAY_PIN, reason="this system cannot hold processes on cores")
def test_workers_that_live_together_are_held_on_one_core(opened: Callable[..., Place], tmp_path: Path) -> None:
    host = opened("host")
    path = hostile_networks.relu(tmp_path / "net.tflite")
    workers = [host.start(path, XNNPACK) for _ in range(2)]
    cores = {worker.loaded.core for worker in workers}
    assert len(cores) == 1
    assert cores <= os.sched_getaffinity(0)
    assert [set(process.cpu_affinity()) for process in _interpreters()] == [cores, cores]
    free = host.start(path, How(Kernels.XNNPACK, pin=False))
    assert free.loaded.core is None
    assert set(_interpreters()[-1].cpu_affinity()) == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("name", "asked", "kernels"),
    [
        ("host", Kernels.REFERENCE, "reference"),
        ("host", Kernels.XNNPACK, "xnnpack"),
        ("host:xnnpack=off", Kernels.XNNPACK, "builtin"),
        ("tflm", Kernels.XNNPACK, "tflm"),
    ],
)
def test_outputs_are_those_of_the_samples_and_leave_blocks_as_they_were(
    opened: Callable[..., Place], tmp_path: Path, name: str, asked: Kernels, kernels: str
) -> None:
    if name == "tflm":
        pytest.importorskip("tflite_micro")
    worker = opened(name).start(hostile_networks.relu(tmp_path / "net.tflite"), How(asked))
    assert worker.loaded.kernels == kernels
    samples = [np.asarray([[-1, 2, -3, 4]], np.float32), np.asarray([[5, -6, 7, -8]], np.float32)]
    made = worker.outputs([[sample.tobytes()] for sample in samples])
    assert [np.frombuffer(one, np.float32).tolist() for (one,) in made] == [[0, 2, 0, 4], [5, 0, 7, 0]]
    assert len(worker.block(time_s=1, most=3).samples) == 3


def test_tflm_has_no_load_time_of_its_own_and_names_its_wheel(opened: Callable[..., Place], tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    worker = opened("tflm").start(hostile_networks.relu(tmp_path / "net.tflite"), XNNPACK)
    assert worker.loaded.load is None
    assert "tflite-micro" in worker.loaded.versions


def test_a_sample_that_does_not_fit_is_refused(opened: Callable[..., Place], tmp_path: Path) -> None:
    worker = opened("host").start(hostile_networks.relu(tmp_path / "net.tflite"), XNNPACK)
    with pytest.raises(StepError, match=r"LiteRT does not run net\.tflite with xnnpack kernels"):
        worker.outputs([[b"\0" * 12]])


def test_a_damaged_file_is_refused_with_the_interpreters_reason(opened: Callable[..., Place], tmp_path: Path) -> None:
    path = hostile_networks.relu(tmp_path / "net.tflite")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StepError, match=r"LiteRT does not run net\.tflite with xnnpack kernels") as caught:
        opened("host").start(path, XNNPACK)
    assert caught.value.why


def test_a_network_that_crashes_the_interpreter_is_an_error_with_the_signal(
    opened: Callable[..., Place], tmp_path: Path
) -> None:
    host = opened("host")
    with pytest.raises(StepError, match=r"the interpreter of net\.tflite crashed \(signal SIGSEGV\)"):
        host.start(hostile_networks.crashing(tmp_path / "net.tflite"), XNNPACK)
    assert host.start(hostile_networks.relu(tmp_path / "next.tflite"), XNNPACK).close()


def test_a_network_that_never_ends_is_ended(opened: Callable[..., Place], tmp_path: Path) -> None:
    host = opened("host", Limits(time_s=3, memory_bytes=10**9))
    with pytest.raises(StepError, match=r"the interpreter of net\.tflite was ended: it was not done after 3"):
        host.start(hostile_networks.endless(tmp_path / "net.tflite"), XNNPACK)


@pytest.mark.skipif(sys.platform != "linux", reason="its memory is counted otherwise elsewhere")
def test_a_network_that_eats_memory_is_ended(opened: Callable[..., Place], tmp_path: Path) -> None:
    host = opened("host", Limits(time_s=PATIENCE_S, memory_bytes=250_000_000))
    with pytest.raises(StepError, match=r"the interpreter of net\.tflite was ended: it took .*, more than its 250 MB"):
        host.start(hostile_networks.hungry(tmp_path / "net.tflite"), XNNPACK)


def test_a_worker_that_was_killed_is_an_error_and_closes_quietly(opened: Callable[..., Place], tmp_path: Path) -> None:
    worker = opened("host").start(hostile_networks.relu(tmp_path / "net.tflite"), XNNPACK)
    for process in _interpreters():
        process.kill()
    with pytest.raises(StepError, match=r"the interpreter of net\.tflite crashed \(signal SIGKILL\)"):
        worker.block(time_s=1, most=3)
    assert worker.close().peak_memory_bytes is None
