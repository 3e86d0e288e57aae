"""What users name, looked at from outside before anything is done: networks, data, functions, and this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pipelines import given, installed

from edgebuild import api, config, hashing
from edgebuild.core.facility import Facility
from edgebuild.errors import StepError, UsageError
from edgebuild.pipeline import doctor, sources
from edgebuild.runtimes.arm64 import emulator


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch)
    monkeypatch.chdir(tmp_path)


# Networks and data.


def test_a_network_is_known_by_its_kind_and_its_digest(tmp_path: Path) -> None:
    model, _ = given(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_text("a graph")
    assert (sources.model(model).kind, sources.model(model).sha256) == ("file", hashing.of_file(Path(model)))
    folder = sources.model(str(tmp_path / "saved"))
    assert (folder.kind, folder.sha256) == ("folder", hashing.of_tree(tmp_path / "saved"))
    assert sources.model("mine:model") == msgspec.structs.replace(folder, kind="callable", path="mine:model", sha256="")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("made.tflite", "is an artifact already"),
        ("notes.txt", "is no network that can be read"),
        ("empty", "is no SavedModel"),
        ("nowhere.keras", "there is no model at"),
    ],
)
def test_what_is_no_network_is_refused_with_what_would_be_one(name: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "made.tflite").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as error:
        sources.model(str(tmp_path / name))
    assert what in error.value.what
    assert ".tflite" in str(error.value) or "module:callable" in str(error.value)


def test_data_are_known_by_their_headers_and_what_cannot_be_data_is_refused(tmp_path: Path) -> None:
    _, data = given(tmp_path)
    found = sources.data(data)
    assert found is not None
    assert (found.kind, dict(found.shapes)) == ("file", {"": (4,)})
    assert sources.data("") is None
    np.savez(tmp_path / "odd.npz", pictures=np.zeros((3, 2)))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("odd.npz", "notes.txt", "empty", "nowhere.npz"):
        with pytest.raises(UsageError):
            sources.data(str(tmp_path / name))
    with pytest.raises(UsageError, match="label_column is for CSV files"):
        sources.data(data, "label")


def test_tables_are_data_whose_label_column_is_looked_up(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("a,b,label\n1,2,0\n3,4,1\n")
    for path in (table, tmp_path):
        found = sources.data(str(path), "label")
        assert found is not None
        assert found.sha256
    with pytest.raises(UsageError):
        sources.data(str(table), "nowhere")


def test_what_has_a_say_in_training_is_known_by_its_source(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def augment(x): return x\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    teacher, _ = given(tmp_path, "teacher")
    folders = [str(tmp_path)]
    assert sources.learnt(teacher, folders).sha256 == hashing.of_file(Path(teacher))
    assert sources.learnt("mine:augment", folders).sha256 == hashing.of_file(tmp_path / "mine.py")
    assert sources.learnt("package.inner:augment", folders).sha256 == hashing.of_tree(tmp_path / "package")
    assert sources.learnt("json:loads", folders).sha256 == ""
    # It is part of what is planned, so that a changed one trains anew.
    model, data = given(tmp_path)
    tables: dict[str, Any] = {"model": {"path": model}, "data": {"path": data}, "build": {"targets": ["mcu"]}}
    tables |= {"train": {"augment": "mine:augment"}, "distill": {"teachers": [{"network": teacher}]}}
    plans = []
    for text in ("def augment(x): return x\n", "def augment(x): return -x\n"):
        (tmp_path / "mine.py").write_text(text)
        (plan,) = api.plans(config.load(tables, {}, use_file=False))
        plans.append({source.path: source.sha256 for source in plan.learns_from})
    assert plans[0][teacher] == plans[1][teacher]
    assert plans[0]["mine:augment"] != plans[1]["mine:augment"]


def test_models_and_arrays_of_python_become_files(tmp_path: Path) -> None:
    class Saved:
        def save(self, path: Path) -> None:
            path.write_text("saved")

    assert Path(sources.model_file(Saved(), tmp_path)).read_text() == "saved"
    assert (sources.model_file("a.keras", tmp_path), sources.model_file(None, tmp_path)) == ("a.keras", "")
    with pytest.raises(UsageError, match="int is no model"):
        sources.model_file(3, tmp_path)
    arrays = np.load(sources.data_file({"x": np.arange(3)}, tmp_path))
    assert arrays["x"].tolist() == [0, 1, 2]
    assert (sources.data_file(Path("a.npz"), tmp_path), sources.data_file(None, tmp_path)) == ("a.npz", "")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = given(tmp_path)

    def broken(_: Path) -> str:
        raise OSError("input/output error")

    monkeypatch.setattr(hashing, "of_file", broken)
    with pytest.raises(StepError, match=r"kws\.keras cannot be read"):
        sources.model(model)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("mine:mdoel", 'defines no mdoel; did you mean "model"'),
        ("mien:model", 'There is no module mien; did you mean "mine"'),
        ("package.inner:bulid", "defines no bulid"),
    ],
)
def test_a_function_that_is_not_there_is_refused_without_running_its_module(
    path: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit\ndef model(): ...\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text("def build(): ...\n")
    with pytest.raises(UsageError) as error:
        sources.require(path, [str(tmp_path)])
    assert why in error.value.why
    tables = {"model": {"path": path}, "build": {"targets": ["mcu"]}}
    with pytest.raises(UsageError):
        api.plans(config.load(tables, {}, use_file=False))


@pytest.mark.parametrize("path", ["mine:model", "made:anything", "package.other:build", "json:loads"])
def test_a_function_that_may_be_there_is_left_to_its_call(path: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit\ndef model(): ...\n")
    (tmp_path / "made.py").write_text("from mine import *\n")
    (tmp_path / "package").mkdir()
    sources.require(path, [str(tmp_path)])


# This machine.


def _examined(folder: Path) -> dict[str, Facility]:
    return {facility.name: facility for facility in doctor.examine(folder / "store")}


def test_a_machine_without_programs_is_told_what_each_is_for_and_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(emulator.FOLDER_VARIABLE, str(tmp_path / "arm64"))
    monkeypatch.delenv("EDGEBUILD_BENCHMARK_MODEL", raising=False)
    monkeypatch.setattr(doctor, "_POWERCAP", tmp_path / "none")
    monkeypatch.setattr(doctor, "_PARANOID", tmp_path / "none")
    monkeypatch.setattr("edgebuild.host.versions", lambda _: {})
    found = _examined(tmp_path)
    for name in ("g++", "ssh", "adb", "edgetpu_compiler", "TensorFlow Lite Micro", "LiteRT", "benchmark_model"):
        assert not found[name].is_there
        assert found[name].use
        assert found[name].remedy.startswith(("Install it: ", "Download "))
    assert not found[doctor.ARM64].is_there
    assert (found["perf counters"].detail, found["energy counters"].is_there) == ("this system has none", False)
    assert found["Python"].is_there


def test_a_machine_with_all_of_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, counters = tmp_path / "bin", tmp_path / "powercap" / "intel-rapl:0"
    programs.mkdir()
    counters.mkdir(parents=True)
    for name in ("g++", "ssh", "adb", "edgetpu_compiler", "arm-none-eabi-g++"):
        (programs / name).touch(0o755)
    (counters / "energy_uj").write_text("1")
    (tmp_path / "paranoid").write_text("4")
    (tmp_path / "benchmark_model").touch()

    def ran(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        name = Path(command[0]).name
        if name == "adb":
            raise OSError("exec format error")
        return subprocess.CompletedProcess(command, 0, b"" if name == "ssh" else f"{name} 1.2\nmore".encode())

    monkeypatch.setattr(subprocess, "run", ran)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("EDGEBUILD_BENCHMARK_MODEL", str(tmp_path / "benchmark_model"))
    monkeypatch.setattr(doctor, "_POWERCAP", tmp_path / "powercap")
    monkeypatch.setattr(doctor, "_PARANOID", tmp_path / "paranoid")
    monkeypatch.setattr("edgebuild.host.versions", lambda names: dict.fromkeys(names, "9.9"))
    monkeypatch.setattr(emulator, "find", lambda: emulator.Emulator(Path("qemu"), "9.2", (), tmp_path, "python", ""))
    monkeypatch.setattr(emulator, "read", lambda _: None)
    monkeypatch.setattr(emulator, "counting_plugin", lambda _: tmp_path)
    found = _examined(tmp_path)
    assert found["g++"].detail == "g++ 1.2"
    assert found["ssh"].is_there
    assert (found["adb"].is_there, found["adb"].detail.endswith("adb does not answer")) == (False, True)
    assert found["Vela"].detail == "ethos-u-vela 9.9"
    assert found["benchmark_model"].is_there
    assert found[doctor.ARM64].detail.startswith("QEMU")
    assert (found["perf counters"].is_there, found["perf counters"].remedy) == (
        False,
        "sudo sysctl kernel.perf_event_paranoid=2",
    )
    assert found["energy counters"].detail == "1 of the processor"
    assert found["store"].name == "store"
