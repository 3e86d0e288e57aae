"""The place behind ssh, against a real ssh server on loopback with the real client."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import numpy as np
import pytest
import ssh_server
from ssh_server import DESTINATION, Server, can_mount, nothing_is_left, running

from edgebuild.core import place
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError, UsageError
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.process import Limits
from edgebuild.runtimes.places import runner, ssh, supervisor, table
from edgebuild.runtimes.places.protocol import Closing, How, unheard
from edgebuild.runtimes.places.ssh import SshPlace
from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh client on this machine")

HOW = How(Kernels.XNNPACK)
LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=10**9)
INPUTS = 64


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    shape = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=INPUTS, out_channels=INPUTS)
    path.write_bytes(timed_parts.artifact_of_layer(shape))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.tflite"
    path.write_bytes(np.random.default_rng(0).bytes(4 << 20))
    return path


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "board"
    folder.mkdir()
    with ssh_server.server(folder) as made:
        monkeypatch.setenv("EDGEBUILD_SSH", made.configure())
        monkeypatch.delenv("EDGEBUILD_SSH_PYTHON", raising=False)
        yield made


def opened(limits: Limits = LIMITS, destination: str = DESTINATION) -> SshPlace:
    found = table.open_place(place.parse(f"ssh:{destination}"), limits, Path(), unheard)
    assert isinstance(found, SshPlace)
    return found


@pytest.fixture
def there(board: Server) -> Iterator[SshPlace]:
    """The board as a place; after the test nothing is left there."""
    made = opened()
    yield made
    made.close()
    assert nothing_is_left(board)


def test_an_artifact_is_run_behind_ssh_as_it_is_here(there: SshPlace, network: Path) -> None:
    worker = there.start(network, HOW)
    block = worker.block(time_s=0.05, most=20)
    samples = [[np.full(INPUTS, value, np.int8).tobytes()] for value in (3, -90)]
    here = runner.open_runner(str(network), "xnnpack")
    assert worker.outputs(samples) == here.outputs(samples)
    assert 1 <= len(block.samples) <= 20
    assert all(sample > 0 for sample in block.samples)
    assert sum(block.samples) <= block.wall_s
    assert worker.loaded.machine == runner.machine()
    assert worker.loaded.versions.keys() == {"ai-edge-litert", "python"}
    assert worker.loaded.load
    closing = worker.close()
    assert closing.peak_memory_bytes
    assert worker.close() == closing
    assert there.label == f"ssh:{DESTINATION}"


def test_what_a_login_prints_does_not_get_between(board: Server, there: SshPlace, network: Path) -> None:
    board.wrap = lambda command: ["/bin/sh", "-c", f"echo Welcome to the board; {command}"]
    assert there.start(network, HOW).block(time_s=0.01, most=2).samples


def test_workers_that_live_together_are_held_on_one_core(there: SshPlace, network: Path) -> None:
    workers = [there.start(network, HOW) for _ in range(2)]
    assert len({worker.loaded.core for worker in workers}) == 1


def test_a_machine_that_refuses_connections_is_unavailable(
    board: Server, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBUILD_SSH", board.configure(port=1))
    with pytest.raises(UnavailableError, match="cannot be reached: it refuses the connection"):
        opened().start(network, HOW)


def test_an_unknown_name_is_unavailable(board: Server, network: Path) -> None:
    with pytest.raises(UnavailableError, match=r"nowhere\.invalid cannot be reached"):
        opened(destination="nowhere.invalid").start(network, HOW)


def test_a_wrong_key_is_told(board: Server, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(wrong)
    wrong.chmod(0o600)
    monkeypatch.setenv("EDGEBUILD_SSH", board.configure(key=wrong))
    with pytest.raises(UnavailableError, match="does not accept the key") as caught:
        opened().start(network, HOW)
    assert "ssh-copy-id" in caught.value.remedy
    assert not board.commands


def test_an_unknown_host_key_is_told_and_not_taken(board: Server, network: Path) -> None:
    board.know(None)
    with pytest.raises(UnavailableError, match="does not know the host key"):
        opened().start(network, HOW)
    assert not board.commands


def test_a_changed_host_key_is_told_and_not_taken(board: Server, network: Path) -> None:
    board.know(asyncssh.generate_private_key("ssh-ed25519"))
    with pytest.raises(UnavailableError, match="is not the one that ssh knows"):
        opened().start(network, HOW)
    assert not board.commands


def test_a_missing_ssh_is_one_sentence(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEBUILD_SSH", "/nonexistent/ssh -F file")
    with pytest.raises(UnavailableError, match="there is no /nonexistent/ssh") as caught:
        opened().start(network, HOW)
    assert "apt install openssh-client" in caught.value.remedy


def test_a_command_for_ssh_with_an_open_quote_is_wrong_usage(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEBUILD_SSH", "ssh -F 'file")
    with pytest.raises(UsageError, match="EDGEBUILD_SSH is no command"):
        opened().start(network, HOW)


def test_a_machine_without_python_and_tool_is_told_what_to_install(
    board: Server, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBUILD_SSH_PYTHON", "no-such-python")
    without = opened()
    with pytest.raises(UnavailableError, match="has no no-such-python, and there is no benchmark_model") as caught:
        without.start(network, HOW)
    assert "pip install ai-edge-litert" in caught.value.remedy
    without.close()
    assert nothing_is_left(board)


def test_a_python_that_does_not_start_is_told(board: Server, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = board.folder / "bin" / "old-python"
    old.write_text("#!/bin/sh\necho Unknown option: -I >&2\nexit 2\n")
    old.chmod(0o755)
    monkeypatch.setenv("EDGEBUILD_SSH_PYTHON", "old-python")
    made = opened()
    with pytest.raises(UnavailableError, match=r"old-python does not start on tester@board \(exit code 2\)") as caught:
        made.start(network, HOW)
    assert "Unknown option: -I" in caught.value.why
    made.close()
    assert nothing_is_left(board)


def test_python_without_its_packages_is_told(board: Server, there: SshPlace, network: Path) -> None:
    packages = board.folder / "packages"
    packages.mkdir()
    (packages / "numpy.py").write_text("""raise ModuleNotFoundError("No module named 'numpy'")""")
    board.environment["PYTHONPATH"] = str(packages)
    with pytest.raises(UnavailableError, match="lacks a package, and there is no benchmark_model") as caught:
        there.start(network, HOW)
    assert "No module named 'numpy'" in caught.value.why


def test_a_refused_artifact_is_a_failed_step(there: SshPlace, large: Path) -> None:
    with pytest.raises(StepError, match=r"LiteRT does not run large\.tflite on tester@board with xnnpack kernels"):
        there.start(large, HOW)


def test_a_file_that_may_not_grow_any_more_means_no_space(board: Server, there: SshPlace, large: Path) -> None:
    board.wrap = lambda command: ["/bin/sh", "-c", f"ulimit -f 1024; {command}"]
    with pytest.raises(StepError, match=r"there is no space for large\.tflite on tester@board") as caught:
        there.start(large, HOW)
    assert "File too large" in caught.value.why


@pytest.mark.skipif(not can_mount(), reason="only root may mount a small file system in a name space of its own")
def test_a_full_file_system_means_no_space_and_is_left_empty(board: Server, there: SshPlace, large: Path) -> None:
    left = board.folder / "left"
    mounted = f'mount -t tmpfs -o size=1m none {board.temporary} && {{ sh -c "$0"; ls -A {board.temporary} >>{left}; }}'
    board.wrap = lambda command: ["unshare", "-m", "/bin/sh", "-c", mounted, command]
    with pytest.raises(StepError, match=r"there is no space for large\.tflite on tester@board") as caught:
        there.start(large, HOW)
    there.close()
    assert "No space left on device" in caught.value.why
    assert nothing_is_left(board)
    assert left.read_text() == ""


def test_a_connection_cut_while_the_artifact_is_on_its_way_is_a_failed_step(
    board: Server, there: SshPlace, large: Path
) -> None:
    board.cut_after = 1 << 20
    with pytest.raises(StepError, match="the connection to tester@board was cut"):
        there.start(large, HOW)


def test_a_connection_cut_within_a_block_is_a_failed_step(board: Server, there: SshPlace, network: Path) -> None:
    worker = there.start(network, HOW)
    threading.Timer(0.3, board.cut).start()
    with pytest.raises(StepError, match="the connection to tester@board was cut"):
        worker.block(time_s=60, most=10**9)
    assert worker.close() == Closing()
    assert nothing_is_left(board)


def test_a_place_whose_connection_was_cut_can_be_used_again(board: Server, there: SshPlace, network: Path) -> None:
    there.start(network, HOW)
    board.cut()
    assert nothing_is_left(board)
    assert there.start(network, HOW).block(time_s=0.01, most=1).samples


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_runner_that_is_killed_is_a_failed_step_with_the_signal(
    there: SshPlace, network: Path, number: signal.Signals
) -> None:
    worker = there.start(network, HOW)
    (found,) = running("runner.py")
    threading.Timer(0.3, found.send_signal, [number]).start()
    with pytest.raises(
        StepError, match=rf"the interpreter of net\.tflite on {DESTINATION} crashed \(signal {number.name}\)"
    ):
        worker.block(time_s=60, most=10**9)
    assert worker.close() == Closing()


def test_a_runner_that_hangs_is_ended_at_its_limit(board: Server, network: Path) -> None:
    made = opened(Limits(time_s=2, memory_bytes=10**9))
    worker = made.start(network, HOW)
    (found,) = running("runner.py")
    found.suspend()
    with pytest.raises(StepError, match=r"was ended: it was not done after 2\.0 s") as caught:
        worker.block(time_s=0.1, most=1)
    assert "[limits]" in caught.value.remedy
    made.close()
    assert nothing_is_left(board)


def test_a_runner_that_takes_too_much_memory_is_ended(board: Server, network: Path) -> None:
    made = opened(Limits(time_s=PATIENCE_S, memory_bytes=10_000_000))
    with pytest.raises(StepError, match=r"was ended: it took more than its 10\.0 MB"):
        made.start(network, HOW).block(time_s=5, most=10**9)
    made.close()
    assert nothing_is_left(board)


def test_what_a_killed_supervisor_left_is_removed_by_the_next_call(board: Server, network: Path) -> None:
    made = opened()
    worker = made.start(network, HOW)
    (running_it,) = running("runner.py")
    parent = running_it.parent()
    assert parent is not None
    parent.kill()
    with pytest.raises(StepError, match=r"was cut|was ended"):
        worker.block(time_s=60, most=10**9)
    made.close()
    (folder,) = board.temporary.iterdir()
    assert (folder / "network.tflite").is_file()
    again = opened()
    again.start(network, HOW).close()
    again.close()
    assert nothing_is_left(board)


def test_a_folder_in_use_is_not_removed(tmp_path: Path) -> None:
    import fcntl

    used, left = (tmp_path / f"edgebuild-{os.getuid()}-{name}" for name in ("used", "left"))
    for folder in (used, left):
        folder.mkdir()
        (folder / "lock").touch()
    with (used / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        supervisor.sweep(tmp_path)
    assert used.is_dir()
    assert not left.exists()


def test_a_second_call_waits_for_the_first(board: Server, there: SshPlace, network: Path) -> None:
    started = time.monotonic()
    there.start(network, HOW)
    # Enough for what it takes on this machine, but shorter than what is waited.
    limit_s = 1 + 3 * (time.monotonic() - started)
    said: list[str] = []
    done: list[float] = []

    def measure() -> None:
        limits = Limits(time_s=limit_s, memory_bytes=10**9)
        other = ssh.open_place(place.parse(there.label), limits, Path(), said.append)
        other.start(network, HOW).block(time_s=0.01, most=1)
        done.append(time.monotonic())
        other.close()

    second = threading.Thread(target=measure)
    second.start()
    while not said:
        time.sleep(0.05)
    # Longer than the time limit of what waits: waiting does not count.
    time.sleep(1.2 * limit_s)
    assert not done
    freed = time.monotonic()
    there.close()
    second.join(PATIENCE_S)
    assert done
    assert done[0] > freed
    assert said == ["wait for tester@board, which measures for another call of edgebuild"]


def test_waiting_for_another_call_has_an_end(there: SshPlace, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there.start(network, HOW)
    monkeypatch.setattr(ssh, "QUEUE_S", 1.0)
    with pytest.raises(UnavailableError, match="is measuring for another call of edgebuild"):
        opened()


@pytest.mark.parametrize("module", [runner, supervisor])
def test_what_is_sent_is_python_3_9_and_brings_nothing_of_edgebuild(module: object) -> None:
    source = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names | {"numpy"}
    assert module is runner or "numpy" not in imported


def test_a_signal_of_another_system_is_told_by_its_number() -> None:
    assert ssh.ending(0, 200) == "signal 200"
    assert ssh.ending(3, 0) == "exit code 3"
