from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgebuild import host
from edgebuild.cli.doctor import command
from edgebuild.core.facility import Facility
from edgebuild.errors import ExitCode, UnavailableError
from edgebuild.pipeline import doctor
from edgebuild.report.doctor import of_facilities
from edgebuild.runtimes.arm64 import emulator

HEAVY = {"tensorflow", "keras", "tf_keras", "numpy", "rich", "sklearn", "ai_edge_litert", "PIL", "psutil"}
PROGRAMS = {"edgetpu_compiler", "g++", "arm-none-eabi-g++", "ssh", "adb"}
_RUN = """
import sys
from edgebuild.cli.doctor import command
command.main(["--json"], standalone_mode=False)
print(sorted({module.partition(".")[0] for module in sys.modules}), file=sys.stderr)
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any program on its PATH; the folder is that PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv(emulator.FOLDER_VARIABLE, str(tmp_path / "arm64"))
    for variable in (emulator.QEMU_VARIABLE, emulator.ROOT_VARIABLE, "EDGEBUILD_BENCHMARK_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    return programs


def _by_name(folder: Path) -> dict[str, Facility]:
    return {facility.name: facility for facility in doctor.examine(folder)}


def test_what_is_missing_is_named_with_the_command_that_installs_it(bare: Path, tmp_path: Path) -> None:
    found = _by_name(tmp_path)
    for name in PROGRAMS:
        assert not found[name].is_there
        assert found[name].detail == "not on the PATH"
        assert "apt-get install" in found[name].remedy
    assert found[doctor.ARM64].detail == "the emulation of arm64 is not installed"
    assert found[doctor.ARM64].remedy == "Install it: edgebuild doctor --install arm64"
    assert found["benchmark_model"].detail == "EDGEBUILD_BENCHMARK_MODEL is not set"


def test_what_is_there_is_named_with_its_version(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = bare / "adb"
    program.write_text("#!/bin/sh\necho Android Debug Bridge version 1.0.41\necho more\n")
    program.chmod(0o755)
    monkeypatch.setenv("EDGEBUILD_BENCHMARK_MODEL", str(program))
    found = _by_name(tmp_path)
    assert found["adb"].is_there
    assert found["adb"].detail == "Android Debug Bridge version 1.0.41"
    assert found["benchmark_model"].detail == str(program)
    assert found["Python"].is_there
    assert found["LiteRT"].detail.startswith("ai-edge-litert ")
    assert found["Ray"].is_there == bool(host.versions(["ray"]))
    assert found["Ray"].is_there or "pip install 'edgebuild[cluster]'" in found["Ray"].remedy
    assert not any(found[name].remedy for name in ("adb", "benchmark_model", "Python", "LiteRT"))


def test_a_program_that_cannot_be_run_does_not_count_as_there(bare: Path, tmp_path: Path) -> None:
    (bare / "ssh").write_bytes(b"\x7fELF of another machine")
    (bare / "ssh").chmod(0o755)
    found = _by_name(tmp_path)["ssh"]
    assert not found.is_there
    assert "does not answer" in found.detail


def test_the_room_in_the_store_is_that_of_the_disk_it_will_be_on(tmp_path: Path) -> None:
    store = _by_name(tmp_path / "not" / "there" / "yet")["store"]
    assert str(tmp_path / "not") in store.detail
    assert "free" in store.detail
    assert not (tmp_path / "not").exists()


def test_a_named_tool_that_is_no_file_is_told(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEBUILD_BENCHMARK_MODEL", str(tmp_path / "nothing"))
    found = _by_name(tmp_path)["benchmark_model"]
    assert (found.is_there, found.detail) == (False, f"EDGEBUILD_BENCHMARK_MODEL names no file: {tmp_path}/nothing")


def test_each_line_says_whether_it_is_there_and_the_remedy_stands_below() -> None:
    there = Facility(name="ssh", is_there=True, detail="OpenSSH 9", use="measures elsewhere")
    missing = Facility(name="a tool", is_there=False, detail="not on the PATH", use="builds", remedy="Install it: now")
    assert of_facilities([there, missing], lambda text, _: text).splitlines() == [
        "there    ssh     OpenSSH 9 (measures elsewhere)",
        "missing  a tool  not on the PATH (builds)",
        "                 Install it: now",
    ]


def test_the_verb_gives_json_and_imports_nothing_heavy(tmp_path: Path) -> None:
    environment = {**os.environ, "EDGEBUILD_STORE": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", _RUN], env=environment, capture_output=True, text=True, check=True)
    found = {entry["name"]: entry for entry in json.loads(ran.stdout)}
    assert {"Python", "TensorFlow and Keras", "core pinning", "energy counters", *PROGRAMS} <= set(found)
    assert found["store"]["detail"].startswith(str(tmp_path))
    modules = set(ran.stderr.strip().splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert "edgebuild" in modules
    assert modules & HEAVY == set()


def test_an_installation_that_cannot_be_had_ends_with_the_reason(bare: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no apt-get here") as error:
        command.main(["--install", "arm64"], standalone_mode=False)
    assert error.value.exit_code == ExitCode.INCONCLUSIVE
