"""The runner as a program, as it is sent to other machines: its lines, its errors and its end."""

from __future__ import annotations

import ast
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile_networks
import numpy as np
import pytest

from edgebuild.runtimes.places import runner
from tests.conftest import PATIENCE_S

PROGRAM = Path(runner.__file__)


class Talk:
    """A runner in a process of its own, started as a file that lies anywhere."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", f"import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, **fields: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({name: fields}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def open(self, artifact: Path, **fields: Any) -> Any:
        return self.ask(
            "open", **{"artifact": str(artifact), "kernels": "xnnpack", "threads": 1, "pin": True, **fields}
        )


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    with made.process:
        yield made
        made.process.kill()


def test_it_opens_runs_and_closes(talk: Talk, tmp_path: Path) -> None:
    opened = talk.open(hostile_networks.relu(tmp_path / "net.tflite"))["ok"]
    assert opened["machine"]
    assert opened["kernels"] == "xnnpack"
    assert opened["load"] > 0
    assert opened["first"] > 0
    block = talk.ask("block", time_s=10, most=5)["ok"]
    assert len(block["samples"]) == 5
    assert set(block) == {"samples", "wall_s", "cpu_s", "preempted", "probe_s", "energy_j"}
    given = base64.b64encode(np.asarray([-1, 2, -3, 4], np.float32).tobytes()).decode()
    ((made,),) = talk.ask("outputs", samples=[[given]])["ok"]["samples"]
    assert np.frombuffer(base64.b64decode(made), np.float32).tolist() == [0, 2, 0, 4]
    assert set(talk.ask("close")["ok"]) == {"peak_memory_bytes"}
    assert talk.process.wait(PATIENCE_S) == 0


def test_what_it_cannot_do_is_told_by_kind(talk: Talk, tmp_path: Path) -> None:
    assert talk.ask("block", time_s=1, most=1)["error"]["kind"] == "bug"
    (tmp_path / "net.tflite").write_bytes(b"TFL3" * 10)
    refused = talk.open(tmp_path / "net.tflite")["error"]
    assert refused["kind"] == "refused"
    assert refused["text"]
    assert talk.ask("dance")["error"]["kind"] == "bug"
    assert "ok" in talk.open(hostile_networks.relu(tmp_path / "whole.tflite"))


def test_what_libraries_print_is_not_in_its_answers(talk: Talk, tmp_path: Path) -> None:
    assert "ok" in talk.open(hostile_networks.relu(tmp_path / "net.tflite"))
    out, err = talk.process.communicate()
    assert out == ""
    assert "XNNPACK" in err


def test_it_ends_with_its_input(talk: Talk, tmp_path: Path) -> None:
    talk.open(hostile_networks.relu(tmp_path / "net.tflite"))
    assert talk.process.stdin is not None
    talk.process.stdin.close()
    assert talk.process.wait(PATIENCE_S) == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such alarm")
def test_an_inference_that_hangs_ends_the_process_by_itself(talk: Talk, tmp_path: Path) -> None:
    assert talk.process.stdin is not None
    artifact = str(hostile_networks.endless(tmp_path / "net.tflite"))
    asked = {"open": {"artifact": artifact, "kernels": "xnnpack", "limit_s": 2.0}}
    talk.process.stdin.write(json.dumps(asked) + "\n")
    talk.process.stdin.flush()
    assert talk.process.wait(PATIENCE_S) == -signal.SIGALRM


def test_it_leans_on_nothing_but_numpy_and_the_standard_library() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    imports = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.split(".")[0] for name in imports} - sys.stdlib_module_names == {"numpy"}


def _counter(folder: Path, value: int, **more: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(str(value))
    for name, text in more.items():
        (folder / name).write_text(text)
    return folder / "energy_uj"


def test_energy_is_of_packages_alone_and_outlives_a_counter_that_starts_anew(tmp_path: Path) -> None:
    powercap = tmp_path / "powercap"
    first = _counter(powercap / "intel-rapl:0", 1_000_000, max_energy_range_uj="10000000")
    second = _counter(powercap / "intel-rapl:1", 9_500_000, max_energy_range_uj="10000000")
    _counter(powercap / "intel-rapl:0:0", 5)
    meters = runner.Meters(powercap, tmp_path / "none")
    before = meters.read_uj()
    assert sorted(number for number in before if number is not None) == [1_000_000, 9_500_000]
    first.write_text("1250000")
    second.write_text("500000")
    assert meters.since_j(before) == pytest.approx(1.25)
    second.unlink()
    assert meters.since_j(before) is None


def test_a_machine_without_counters_is_silent(tmp_path: Path) -> None:
    meters = runner.Meters(tmp_path, tmp_path)
    assert meters.since_j(meters.read_uj()) is None


def test_of_a_sensor_the_socket_counts_and_not_its_cores(tmp_path: Path) -> None:
    chip = tmp_path / "hwmon0"
    chip.mkdir()
    for number, label in ((1, "Ecore000"), (2, "Esocket0")):
        (chip / f"energy{number}_input").write_text("1000000")
        (chip / f"energy{number}_label").write_text(label)
    meters = runner.Meters(tmp_path / "none", tmp_path)
    before = meters.read_uj()
    (chip / "energy1_input").write_text("2000000")
    (chip / "energy2_input").write_text("4000000")
    assert meters.since_j(before) == pytest.approx(3.0)


def test_the_core_that_idled_longest_comes_first_and_of_equals_the_last() -> None:
    text = "cpu  9 0 9 900 90 0\ncpu0 3 0 3 300 30 0\ncpu1 3 0 3 300 10 0\ncpu12 3 0 3 300 50 0\nintr 5 1 2\n"
    ticks = runner.idle_ticks(text)
    assert ticks == {0: 330, 1: 310, 12: 350}
    later = {0: 335, 1: 314, 12: 351}
    assert runner.by_idleness([0, 1, 12], ticks, later) == [0, 1, 12]
    assert runner.by_idleness([1, 12], ticks, ticks) == [12, 1]
    assert runner.by_idleness([0, 1], {}, {}) == [1, 0]


def test_a_core_that_is_not_allowed_is_not_taken() -> None:
    """In a process of its own: it is held on the core afterwards."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    ask = f"import runpy; print(runpy.run_path({str(PROGRAM)!r})['hold_on_cores'](1, 100_000))"
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() in {"None", *map(str, allowed)}
