"""Damaged copies of real files: each is refused with a reason, or described."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import pytest
from ai_edge_litert import schema_py_generated as schema
from damages import copies
from tflite_networks import Network

from edgebuild.cli import run
from edgebuild.emit.metadata import reading
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.report import inspection as report

FEW, MANY = 300, 1000
# For each, at its slowest: the largest real file takes a tenth of a second.
# Of the processor's time, whatever else it does: a thousand times what a copy takes. What had no end would go on.
ENDLESS_S = 120.0
# Files that LiteRT loads; the others hold operators of accelerators, or quantization that it refuses.
REFUSED = ("_edgetpu.tflite", "_vela.tflite", "person_detect.tflite")
# Writes the name of each file that LiteRT prepares to run; a file may end the process.
_LITERT = """
import sys
from ai_edge_litert.interpreter import Interpreter, OpResolverType
for path in sys.argv[1:]:
    print("tried", path, flush=True)
    try:
        Interpreter(path, experimental_op_resolver_type=OpResolverType.BUILTIN_REF).allocate_tensors()
    except (ValueError, RuntimeError):
        continue
    print("loaded", path, flush=True)
"""


def _try(data: bytes, name: str) -> str:
    """What became of a copy: "refused", "doubtful" or "accepted"; anything raised but a StepError fails the test."""
    started = time.process_time()
    try:
        found = inspect(data, name)
        report.of_file(found, name)
        msgspec.json.encode(found)
        reading.read(data, name)
        outcome = "doubtful" if found.doubts else "accepted"
        assert sum(found.sections.values()) == len(data), name
    except StepError:
        outcome = "refused"
    assert time.process_time() - started < ENDLESS_S, name
    return outcome


def test_damaged_copies_of_small_files_are_described_or_refused(assets: Path) -> None:
    small = [path for path in sorted(assets.rglob("*.tflite")) if path.stat().st_size < 60_000]
    outcomes = [_try(data, name) for name, data in copies(small, FEW, seed=1)]
    assert len(outcomes) == FEW
    assert outcomes.count("refused") > FEW / 5
    assert outcomes.count("doubtful") > FEW / 50


@pytest.mark.slow
def test_a_thousand_damaged_copies_of_all_files_are_described_or_refused(assets: Path) -> None:
    outcomes = [_try(data, name) for name, data in copies(sorted(assets.rglob("*.tflite")), MANY, seed=2)]
    assert len(outcomes) == MANY


@pytest.mark.slow
def test_hardly_a_damaged_copy_that_litert_refuses_is_accepted(assets: Path, tmp_path: Path) -> None:
    """What escapes is damage to the contents of constants: a new size of an image, a new shape."""
    loadable = [path for path in sorted(assets.rglob("*.tflite")) if not path.name.endswith(REFUSED)]
    accepted = []
    for name, data in copies(loadable, MANY // 2, seed=3):
        if _try(data, name) == "accepted":
            accepted.append(tmp_path / name)
            accepted[-1].write_bytes(data)
    loaded = _loaded([str(path) for path in accepted])
    assert len(accepted) > MANY // 20
    assert len(accepted) - len(loaded) <= MANY // 2 * 0.005, {path.name for path in accepted} - loaded


def _loaded(paths: list[str]) -> set[str]:
    """The names of those that LiteRT prepares; a process for every forty, and a new one behind each crash."""
    loaded: set[str] = set()
    while paths:
        ran = subprocess.run([sys.executable, "-c", _LITERT, *paths[:40]], capture_output=True, text=True, check=False)
        lines = [line.split(maxsplit=1) for line in ran.stdout.splitlines()]
        loaded |= {Path(path).name for word, path in lines if word == "loaded"}
        paths = paths[max(1, sum(word == "tried" for word, _ in lines)) :]
    return loaded


@pytest.mark.parametrize("length", [0, 4, 7, 8, 12, 100, 1_000, 53_000])
def test_a_file_that_was_cut_is_refused_by_the_command(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes((assets / "kws" / "reference_int8.tflite").read_bytes()[:length])
    assert run(["inspect", str(path)]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: cut.tflite is ")
    assert "Traceback" not in shown.err


def test_an_archive_that_lost_its_end_is_doubtful(assets: Path) -> None:
    data = (assets / "edgetpu" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    assert inspect(data, "whole").doubts == ()
    assert "the end of one is missing" in inspect(data[:-5_000], "cut").doubts[0]
    with pytest.raises(StepError, match="metadata of cut are damaged"):
        reading.read(data[:-5_000], "cut")


def test_an_offset_into_another_part_is_refused() -> None:
    """The graph's second tensor is made to lie in the first: no two parts share bytes."""
    data = bytearray(_two_tensors())
    model = schema.Model.GetRootAs(data, 0)
    table = model.Subgraphs(0)._tab
    vector = table.Vector(table.Offset(4))
    first = vector + struct.unpack_from("<I", data, vector)[0]
    struct.pack_into("<I", data, vector + 4, first + 4 - (vector + 4))
    with pytest.raises(StepError, match="is damaged"):
        inspect(bytes(data), "net")


def _two_tensors() -> bytes:
    network = Network()
    a, b = network.tensor("a", [1, 4]), network.tensor("b", [1, 4])
    network.operator(schema.BuiltinOperator.RELU, [a], [b])
    return network.packed([a], [b])


def test_a_file_that_names_one_long_vector_from_everywhere_ends_soon() -> None:
    """100,000 operators that share their inputs would be 10^10 inputs."""
    model: Any = schema.ModelT.InitFromPackedBuf(_two_tensors(), 0)
    model.subgraphs[0].operators[0].inputs = [0] * 100_000
    data = bytearray(_packed_with_repeats(model, 100_000))
    started = time.process_time()
    with pytest.raises(StepError, match="is damaged"):
        inspect(bytes(data), "repeats")
    assert time.process_time() - started < ENDLESS_S


def _packed_with_repeats(model: Any, times: int) -> bytes:
    """A file in which the graph's only operator stands many times, as one table."""
    graph = model.subgraphs[0]
    only = graph.operators[0]
    packed: list[int] = []

    class Once:
        def Pack(self, builder: Any) -> int:  # noqa: N802
            if not packed:
                packed.append(only.Pack(builder))
            return packed[0]

    graph.operators = [Once()] * times
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
