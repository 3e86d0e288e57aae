from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from making import budget, figure, manifest

from edgebuild.pipeline.figures import describe, of_file

HEAVY = {"tensorflow", "keras", "tf_keras", "numpy", "rich", "jinja2", "sklearn", "ai_edge_litert", "PIL", "psutil"}
DATA = b"TFL3" * 100
# Runs a command line as the entry does, and writes its exit code and every module that it imported into a file.
_RUN = """
import json, sys
from edgebuild.cli import run
code = run(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A build for one target, made by hand; its size limit is kept."""
    artifact = describe("kws.tflite", DATA)
    figures = (*of_file(artifact), figure("accuracy", 0.9, where="host"))
    made = manifest((budget("size", 1000), budget("accuracy", 0.8)), artifact=artifact, measurements=figures)
    folder = tmp_path / "dist" / "mcu"
    folder.mkdir(parents=True)
    (folder / "kws.tflite").write_bytes(DATA)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made))
    return tmp_path / "dist"


def _run(folder: Path, *arguments: str) -> tuple[int, set[str], str]:
    """The exit code, the packages imported, and what was printed."""
    result = folder / "modules.json"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EDGEBUILD_")}
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, str(result), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(result.read_text())
    return code, {module.partition(".")[0] for module in modules}, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--help"], "Turn a trained network into a gated .tflite"),
        (["--version"], "edgebuild "),
        (["check", "--help"], "Gate the artifacts in DIST again"),
        (["inspect", "--help"], "Show what a .tflite FILE holds"),
        (["diff", "--help"], "Show what differs between the artifacts"),
        (["bench", "--help"], "Measure the artifacts at PATH"),
        (["calibrate", "--help"], "Count the instructions of each ARTIFACT"),
        (["doctor", "--help"], "List the tools, packages and rights"),
        (["history", "--help"], "Show how size, accuracy, instructions and latency"),
        (["targets"], "raspberry-pi-pico"),
        (["targets", "mcu", "--json"], '"kernels": "reference"'),
        (["--target", "mcu", "--explain"], "budgets.accuracy_drop"),
        (["--target", "mcu", "--dry-run"], "quantize to int8"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_verb_that_builds_nothing_imports_nothing_heavy(tmp_path: Path, arguments: list[str], printed: str) -> None:
    code, modules, text = _run(tmp_path, *arguments)
    assert code == 0
    assert printed in text
    assert modules & HEAVY == set()


@pytest.mark.parametrize(
    ("options", "code", "verdict"),
    [
        ([], 0, "verdict: pass"),
        (["--budget", "size=100 B"], 1, "verdict: fail"),
        (["--budget", "latency=1ms,on=tflm"], 5, "verdict: inconclusive"),
        (["--budget", "latency=1ms"], 2, "verdict: failed"),
    ],
    ids=["kept", "broken", "no figure", "refused"],
)
def test_checking_a_build_imports_nothing_heavy(dist: Path, options: list[str], code: int, verdict: str) -> None:
    found, modules, text = _run(dist.parent, "check", str(dist), *options)
    assert (found, verdict in text) == (code, True)
    assert modules & HEAVY == set()


def test_a_mistake_is_told_without_importing_anything_heavy(tmp_path: Path) -> None:
    code, modules, text = _run(tmp_path, "--target", "arm46")
    assert code == 2
    assert 'did you mean "arm64"?' in text
    assert modules & HEAVY == set()


def test_what_the_package_raises_can_be_caught_by_its_name() -> None:
    import edgebuild

    for name in ("UsageError", "StepError", "UnavailableError"):
        assert issubclass(getattr(edgebuild, name), edgebuild.EdgebuildError)
    with pytest.raises(edgebuild.UsageError, match="nowhere"):
        edgebuild.check("nowhere")
    with pytest.raises(AttributeError, match="nothing"):
        edgebuild.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    program = "import sys, edgebuild; print([m for m in sys.modules if m.startswith('edgebuild.')])"
    ran: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_converters_child_imports_scikit_learn_where_a_metric_needs_it_and_not_before() -> None:
    script = """
import json, sys
from edgebuild.execution import serving
try:
    serving.JOBS["quantize"].run(None, print)
except AttributeError:
    print(json.dumps([name in sys.modules for name in ("keras", "tensorflow", "sklearn")]))
from sklearn.metrics import r2_score
print(r2_score([1, 2], [1, 2]))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == ["[true, true, false]", "1.0"]
