"""The Edge TPU compiler is seldom at hand: a script that prints what versions 15 and 16 print stands in for it."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from edgebuild.accelerators.edgetpu import log
from edgebuild.actions.runtimes import EdgeTpuJob
from edgebuild.core.device import EdgeTpu, ParameterCache, Place
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.measurement import Mode
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer.rewriting import timed_parts
from edgebuild.process import Child, ChildDiedError, Limits
from edgebuild.runtimes import tools
from tests.conftest import PATIENCE_S

KIB = 1024
NETWORK = timed_parts.artifact_of_layer(LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=4, out_channels=2))
HEAD = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 730 ms.

Input model: net.tflite
Input size: 3.25MiB
Output model: net_edgetpu.tflite
Output size: 3.50MiB
On-chip memory used for caching model parameters: 2.50MiB
On-chip memory remaining for caching model parameters: 1.25KiB
Off-chip memory used for streaming uncached model parameters: 512.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 9
Operation log: net_edgetpu.log
"""
PARTLY = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported by \
the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 6
Number of operations that will run on CPU: 3
"""
TABLE = """
Operator                       Count      Status

CONV_2D                        5          Mapped to Edge TPU
CONV_2D                        1          More than one subgraph is not supported
RESIZE_BILINEAR                1          Operation is otherwise supported, but not mapped due to some unspecified \
limitation
CUSTOM                         1          Operation is working on an unsupported data type
MAX_POOL_2D                    1          Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""
REPORT = HEAD + PARTLY + TABLE
STAND_IN = f"""\
#!{sys.executable}
import os, pathlib, sys, time
marker = pathlib.Path(__file__).with_name("behaviour").read_text()
assert sys.argv[1:3] == ["-s", "-o"] and len(sys.argv) == 5, sys.argv
folder, artifact = map(pathlib.Path, sys.argv[3:])
if marker == "refuse":
    print("Edge TPU Compiler version 16.0.384591198\\nInvalid model: net.tflite\\nModel not quantized")
    sys.exit(1)
if marker == "hang":
    pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
    time.sleep(600)
if marker == "eat":
    bytearray(10**9)
compiled = pathlib.Path(marker) if marker else artifact
(folder / (artifact.stem + "_edgetpu.tflite")).write_bytes(compiled.read_bytes())
print({REPORT!r}, end="")
"""


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the PATH with the stand-in; its file `behaviour` says how it goes, or what compiled file it gives."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "edgetpu_compiler").write_text(STAND_IN)
    (folder / "edgetpu_compiler").chmod(0o755)
    (folder / "behaviour").write_text("")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _compile(tmp_path: Path, time_s: float = PATIENCE_S, memory_bytes: int = 0) -> EdgeTpu:
    artifact, out = tmp_path / "net.tflite", tmp_path / "out"
    artifact.write_bytes(NETWORK)
    out.mkdir()
    job = EdgeTpuJob(artifact=str(artifact), out=str(out), memory_bytes=memory_bytes)
    with Child("edgebuild.execution.serving", "the Edge TPU compiler", tmp_path / "log") as child:
        answer = child.call("edgetpu", job, Limits(time_s=time_s, memory_bytes=10**9), lambda text: None)
    return msgspec.json.decode(answer, type=EdgeTpu)


def _is_gone(pid: int) -> bool:
    """Whether a process has ended; what is left of it may wait for its new parent."""
    try:
        psutil.Process(pid).wait(timeout=PATIENCE_S)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_the_compilers_table_tells_the_fate_of_each_operator() -> None:
    mapping = log.read(REPORT, "net_edgetpu.tflite").mapping
    assert (mapping.mode, mapping.source) == (Mode.MEASURED, "edgetpu_compiler 16.0.384591198")
    assert (mapping.operators, mapping.mapped, mapping.partitions) == (9, 6, 1)
    assert mapping.places[0] == Place(operator="CONV_2D", count=5, is_mapped=True)
    assert [(place.operator, place.reason) for place in mapping.left] == [
        ("CONV_2D", "More than one subgraph is not supported"),
        (
            "RESIZE_BILINEAR",
            "Operation is otherwise supported, but not mapped due to some unspecified limitation",
        ),
        ("CUSTOM", "Operation is working on an unsupported data type"),
    ]


def test_the_compilers_memory_is_read_in_bytes() -> None:
    assert log.read(REPORT, "").cache == ParameterCache(
        mode=Mode.MEASURED, cached_bytes=2560 * KIB, streamed_bytes=512, free_bytes=1280
    )


@pytest.mark.parametrize(
    "text",
    ["", "Internal compiler error. Aborting!\n", HEAD, HEAD.replace("On-chip memory used", "Memory") + TABLE],
)
def test_a_report_that_lacks_something_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(StepError, match="report cannot be read"):
        log.read(text, "")


def test_the_compiler_on_the_path_is_run_and_believed(compiler: Path, tmp_path: Path) -> None:
    assert tools.edgetpu() == str(compiler / "edgetpu_compiler")
    result = _compile(tmp_path)
    assert result.mapping == log.read(REPORT, "").mapping
    assert (tmp_path / "out" / result.compiled).read_bytes() == NETWORK


def test_operators_left_for_one_reason_are_named_by_the_compiled_file(
    compiler: Path, assets: Path, tmp_path: Path
) -> None:
    (compiler / "behaviour").write_text(str(assets / "edgetpu" / "deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite"))
    tensors = {place.operator: place.tensors for place in _compile(tmp_path).mapping.left}
    assert tensors["RESIZE_BILINEAR"] == ("ResizeBilinear", "ResizeBilinear_1", "ResizeBilinear_2")
    assert len(tensors["CONV_2D"]) == 2
    assert tensors["CUSTOM"] == ()


def test_a_compiled_file_that_cannot_be_read_is_an_error(compiler: Path, tmp_path: Path) -> None:
    (compiler / "behaviour").write_text(str(compiler / "edgetpu_compiler"))
    with pytest.raises(StepError, match=r"net_edgetpu\.tflite"):
        _compile(tmp_path)


def test_what_the_compiler_refuses_is_an_error_with_its_words(compiler: Path, tmp_path: Path) -> None:
    (compiler / "behaviour").write_text("refuse")
    with pytest.raises(StepError, match=r"refused net\.tflite") as caught:
        _compile(tmp_path)
    assert caught.value.why.endswith("Model not quantized")


def test_a_compiler_that_hangs_is_ended_with_its_child(compiler: Path, tmp_path: Path) -> None:
    (compiler / "behaviour").write_text("hang")
    with pytest.raises(ChildDiedError, match="not done after"):
        _compile(tmp_path, time_s=2)
    assert _is_gone(int((compiler / "pid").read_text()))


def test_a_compiler_that_takes_more_memory_than_allowed_fails(compiler: Path, tmp_path: Path) -> None:
    (compiler / "behaviour").write_text("eat")
    with pytest.raises(StepError, match="refused") as caught:
        _compile(tmp_path, memory_bytes=500 * 10**6)
    assert "MemoryError" in caught.value.why


def test_an_absent_compiler_is_said_with_the_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.edgetpu() is None
    with pytest.raises(UnavailableError) as caught:
        _compile(tmp_path)
    assert "apt-get install edgetpu-compiler" in caught.value.remedy
