"""What `benchmark_model` prints, and the tool behind ssh where there is no Python; the tool is a stand-in."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import benchmark_model_stand_in
import psutil
import pytest
import ssh_server
from benchmark_model_stand_in import CLOCK, CRASH, HANG, OLD, PLAIN, RIGID
from ssh_server import DESTINATION, Server, can_mount, nothing_is_left, running

from edgebuild.core import place
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.process import Limits
from edgebuild.runtimes.places import benchmark_model, ssh
from edgebuild.runtimes.places.benchmark_model import MEAN, MEDIAN, Tool
from edgebuild.runtimes.places.protocol import How
from edgebuild.runtimes.places.ssh import SshPlace
from tests.conftest import PATIENCE_S

HOW = How(Kernels.XNNPACK)
LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=10**9)
# As of TensorFlow 2.15 and newer on a phone.
PRINTED = """\
INFO: STARTING!
INFO: Tensorflow Version : 2.15.0
INFO: Num threads: [1]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Initialized session in 119.515ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716 p5=49620 median=51891 p95=68628

INFO: Inference timings in us: Init: 119515, First inference: 87112, Warmup (avg): 58147.4, Inference (avg): 63743.2
INFO: Memory footprint delta from the start of the tool (MB): init=55.4961 overall=56.5
"""
# As of LiteRT 2 on a phone.
OF_LITERT = """\
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Initialized session in 4.478ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1055 first=1033 curr=473 min=443 max=1033 avg=465.319 std=18 p5=459 median=463 p95=478

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=2112 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478

INFO: [./litert/tools/benchmark_litert_model.h:81]
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:82] Model initialization: 4.48 ms
INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      0.46 ms (2112 runs)
INFO: [./litert/tools/benchmark_litert_model.h:114] Init footprint:       8.94 MB
INFO: [./litert/tools/benchmark_litert_model.h:116] Overall footprint:    11.51 MB
"""


def test_a_report_is_read() -> None:
    report = benchmark_model.read(PRINTED)
    assert report is not None
    assert (report.init_s, report.first_s) == pytest.approx((0.119515, 0.087112))
    assert report.inferences == 1000
    assert (report.mean_s, report.median_s) == pytest.approx((0.0637432, 0.051891))
    assert report.memory_bytes == 56.5 * 2**20
    assert report.version == "2.15.0"


def test_a_report_of_litert_is_read() -> None:
    report = benchmark_model.read(OF_LITERT)
    assert report is not None
    assert (report.init_s, report.first_s) == pytest.approx((0.004478, 0.001033))
    assert (report.mean_s, report.median_s) == pytest.approx((464.545e-6, 462e-6))
    assert report.memory_bytes == round(11.51 * 2**20)


def test_an_older_report_has_no_median() -> None:
    old = PRINTED.replace(" p5=49620 median=51891 p95=68628", "").replace("INFO: Memory", "INFO: Nothing")
    report = benchmark_model.read(old)
    assert report is not None
    assert report.median_s is None
    assert report.memory_bytes is None
    assert report.mean_s == pytest.approx(0.0637432)


def test_of_equal_times_there_is_but_the_last() -> None:
    line = next(line for line in PRINTED.splitlines() if "count=1000" in line)
    report = benchmark_model.read(PRINTED.replace(line, "INFO: count=20 curr=147(all same)"))
    assert report is not None
    assert report.mean_s == pytest.approx(147e-6)


@pytest.mark.parametrize("text", ["", "ERROR: Benchmarking failed.", PRINTED.partition("INFO: count=1000")[0]])
def test_without_timings_there_is_no_report(text: str) -> None:
    assert benchmark_model.read(text) is None


def test_a_median_in_whole_microseconds_is_used_where_it_is_fine_enough() -> None:
    report = benchmark_model.read(PRINTED)
    assert report is not None
    coarse, old = report._replace(median_s=42e-6), report._replace(median_s=None)
    limits = Limits(time_s=1, memory_bytes=0)
    assert [Tool("d", "m", limits).choose(found) for found in (report, coarse, old)] == [MEDIAN, MEAN, MEAN]
    tool = Tool("d", "m", limits)
    assert [tool.choose(found) for found in (report, coarse)] == [MEDIAN, MEDIAN]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    shape = LayerShape(kind=LayerKind.CONV_2D, in_channels=32, out_channels=32, kernel=(3, 3), height=32, width=32)
    path.write_bytes(timed_parts.artifact_of_layer(shape))
    return path


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A board with the tool and without Python."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh client on this machine")
    folder = tmp_path / "board"
    folder.mkdir()
    with ssh_server.server(folder) as made:
        benchmark_model_stand_in.written(folder / "bin")
        monkeypatch.setenv("EDGEBUILD_SSH", made.configure())
        monkeypatch.setenv("EDGEBUILD_SSH_PYTHON", "no-such-python")
        yield made


def opened(time_s: float = PATIENCE_S) -> SshPlace:
    named = place.parse(f"ssh:{DESTINATION}")
    return ssh.open_place(named, Limits(time_s=time_s, memory_bytes=10**9), Path())


@pytest.fixture
def there(board: Server) -> Iterator[SshPlace]:
    made = opened()
    yield made
    made.close()
    assert nothing_is_left(board)


def test_the_tool_is_used_where_there_is_no_python(board: Server, there: SshPlace, network: Path) -> None:
    (board.folder / "bin" / CLOCK).write_text("462")
    worker = there.start(network, HOW)
    block = worker.block(time_s=0.1, most=50)
    assert block.samples == pytest.approx((462e-6,))
    inferences = block.wall_s / block.samples[0]
    assert inferences == pytest.approx(round(inferences))
    assert inferences >= 1
    assert worker.loaded.load
    assert worker.loaded.first
    assert worker.loaded.machine.endswith("benchmark_model")
    assert worker.loaded.sample == "the median of a run"
    assert worker.loaded.versions == {"benchmark_model": "unknown"}
    with pytest.raises(UnavailableError, match=r"benchmark_model keeps the outputs of net\.tflite to itself"):
        worker.outputs([[b""]])
    closing = worker.close()
    assert closing.peak_memory_bytes == 4.5 * 2**20
    assert worker.close() == closing


@pytest.mark.slow
def test_two_artifacts_are_run_in_turn(there: SshPlace, network: Path) -> None:
    workers = [there.start(network, HOW) for _ in range(2)]
    assert all(worker.block(time_s=0.05, most=9).samples for worker in workers)
    for worker in workers:
        worker.close()


@pytest.mark.slow
def test_an_old_tool_tells_means(board: Server, there: SshPlace, network: Path) -> None:
    (board.folder / "bin" / OLD).touch()
    worker = there.start(network, HOW)
    assert worker.loaded.sample == "the mean of a run"
    assert len(worker.block(time_s=0.05, most=9).samples) == 1
    worker.close()


def test_a_refused_artifact_tells_the_last_words(there: SshPlace, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"no network at all" * 99)
    with pytest.raises(StepError, match=r"benchmark_model does not run damaged\.tflite") as caught:
        there.start(damaged, HOW)
    assert "Benchmarking failed" in caught.value.why


def test_a_tool_that_crashes_is_a_failed_step(board: Server, there: SshPlace, network: Path) -> None:
    (board.folder / "bin" / CRASH).touch()
    with pytest.raises(StepError, match=r"benchmark_model crashed with net\.tflite on .* \(signal SIGABRT\)"):
        there.start(network, HOW)


def test_a_tool_that_hangs_is_ended(board: Server, network: Path) -> None:
    (board.folder / "bin" / HANG).touch()
    made = opened(time_s=1)
    with pytest.raises(StepError, match="was ended: it was not done after 1"):
        made.start(network, HOW)
    made.close()
    assert nothing_is_left(board)


def test_a_tool_that_knows_no_kernels_is_believed_where_it_says_that_it_uses_xnnpack(
    board: Server, there: SshPlace, network: Path
) -> None:
    (board.folder / "bin" / RIGID).touch()
    assert there.start(network, HOW).loaded.kernels == "xnnpack"
    with pytest.raises(UnavailableError, match="does not run builtin kernels"):
        there.start(network, How(Kernels.BUILTIN))


def test_a_tool_without_xnnpack_is_told(board: Server, there: SshPlace, network: Path) -> None:
    (board.folder / "bin" / PLAIN).touch()
    with pytest.raises(UnavailableError, match="does not run xnnpack kernels"):
        there.start(network, HOW)


def test_there_are_no_reference_kernels(there: SshPlace, network: Path) -> None:
    with pytest.raises(UnavailableError, match="benchmark_model has no reference kernels"):
        there.start(network, How(Kernels.REFERENCE))


def test_a_cut_connection_is_a_failed_step_and_leaves_nothing(board: Server, there: SshPlace, network: Path) -> None:
    worker = there.start(network, HOW)
    threading.Timer(0.5, board.cut).start()
    with pytest.raises(StepError, match=f"the connection to {DESTINATION} was cut"):
        worker.block(time_s=5, most=10**9)  # which the board's own process goes on with


@pytest.mark.slow
def test_what_a_killed_shell_left_is_removed_by_the_next_call(board: Server, network: Path) -> None:
    made = opened()
    made.start(network, HOW)
    shells = running("sh")
    # None may see the end of another.
    for shell in shells:
        shell.suspend()
    for shell in shells:
        with contextlib.suppress(psutil.NoSuchProcess):
            shell.kill()
    made.close()
    assert list(board.temporary.iterdir())
    again = opened()
    again.start(network, HOW).close()
    again.close()
    assert nothing_is_left(board)


def test_a_call_without_python_waits_for_one_with(
    board: Server, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEBUILD_SSH_PYTHON")
    first = opened()
    monkeypatch.setenv("EDGEBUILD_SSH_PYTHON", "no-such-python")
    said: list[str] = []
    done = threading.Event()

    def measure() -> None:
        without = ssh.open_place(place.parse(f"ssh:{DESTINATION}"), LIMITS, Path(), said.append)
        without.start(network, HOW)
        done.set()
        without.close()

    second = threading.Thread(target=measure)
    second.start()
    while not said:
        time.sleep(0.05)
    time.sleep(1)
    assert not done.is_set()
    first.close()
    assert done.wait(PATIENCE_S)
    second.join()
    assert said == ["wait for tester@board, which measures for another call of edgebuild"]
    assert nothing_is_left(board)


def test_a_device_without_flock_is_used_without_a_queue(board: Server, network: Path) -> None:
    for program in ("id", "mkdir", "rm", "head", "wc", "uname", "nproc", "tr", "sed", "sh", "timeout"):
        (board.folder / "bin" / program).symlink_to(str(shutil.which(program)))
    board.environment["PATH"] = str(board.folder / "bin")
    left = board.temporary / f"edgebuild-{os.getuid()}-sh.999999999"
    left.mkdir()
    made = opened()
    assert made.start(network, HOW).block(time_s=0.01, most=1).samples
    assert not left.exists()
    assert not list(board.temporary.glob("*.lock"))
    made.close()
    assert nothing_is_left(board)


@pytest.mark.skipif(not can_mount(), reason="only root may mount a small file system in a name space of its own")
def test_a_full_file_system_is_told_by_the_shell_too(board: Server, there: SshPlace, tmp_path: Path) -> None:
    large = tmp_path / "large.tflite"
    large.write_bytes(bytes(4 << 20))
    mounted = f'mount -t tmpfs -o size=1m none {board.temporary} && sh -c "$0"'
    board.wrap = lambda command: ["unshare", "-m", "/bin/sh", "-c", mounted, command]
    with pytest.raises(StepError, match=r"there is no space for large\.tflite on tester@board"):
        there.start(large, HOW)
