from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ai_edge_litert import schema_py_generated as schema
from operator_chains import BUILTIN, TYPE, Step, chain

from edgebuild.actions.runtimes import EthosUJob
from edgebuild.core.delivery import Keep, Names
from edgebuild.core.device import EthosU, Mapping, Place, gathered
from edgebuild.core.measurement import Mode
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting.lean import lean
from edgebuild.process import Child, Limits
from edgebuild.runtimes import ethosu, tools
from tests.conftest import PATIENCE_S

pytest.importorskip("ethosu", reason="Vela is not installed: pip install 'edgebuild[ethosu]'")

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=2 * 10**9)
KIB = 1024
NETWORKS = [
    ("kws/reference_int8.tflite", "ethos-u55-128"),
    ("edgetpu/mobilenet_v1_0.25_128_quant.tflite", "ethos-u65-256"),
    ("tflm/trained_lstm_int8.tflite", "ethos-u85-256"),
]


def _compile(artifact: Path, accelerator: str, folder: Path, **more: Any) -> EthosU:
    out = folder / "out"
    out.mkdir()
    job = EthosUJob(artifact=str(artifact), accelerator=accelerator, out=str(out), **more)
    with Child("edgebuild.execution.serving", "Vela", folder / "log") as child:
        return msgspec.json.decode(child.call("ethos-u", job, LIMITS, lambda text: None), type=EthosU)


def _by_hand(artifact: Path, accelerator: str, folder: Path) -> dict[str, str]:
    """What Vela's own command writes into its summary."""
    command = [sys.executable, "-m", "ethosu.vela", str(artifact), "--accelerator-config", accelerator]
    subprocess.run([*command, "--output-dir", str(folder)], check=True, capture_output=True)
    (path,) = folder.glob("*_summary_*.csv")
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


@pytest.mark.parametrize(("name", "accelerator"), NETWORKS)
def test_the_figures_are_those_of_velas_own_summary(assets: Path, tmp_path: Path, name: str, accelerator: str) -> None:
    row = _by_hand(assets / name, accelerator, tmp_path / "by hand")
    made = _compile(assets / name, accelerator, tmp_path).figures
    assert (made.system_config, made.memory_mode) == (row["system_config"], row["memory_mode"])
    seconds = (made.clock_hz, made.inference_s, made.inferences_per_s)
    assert seconds == tuple(float(row[key]) for key in ("core_clock", "inference_time", "inferences_per_second"))
    memories = (made.sram_bytes, made.dram_bytes, made.on_chip_flash_bytes, made.off_chip_flash_bytes)
    places = ("sram", "dram", "on_chip_flash", "off_chip_flash")
    assert [size / KIB for size in memories] == [float(row[f"{place}_memory_used"]) for place in places]
    cycles = (made.sram_cycles, made.dram_cycles, made.on_chip_flash_cycles, made.off_chip_flash_cycles)
    assert list(cycles) == [int(row[f"cycles_{place}_access"]) for place in places]
    assert (made.npu_cycles, made.total_cycles) == (int(row["cycles_npu"]), int(row["cycles_total"]))
    assert made.macs == int(row["nn_macs"])
    assert made.total_cycles > 0


def test_a_network_that_the_npu_runs_whole_is_one_part_and_nothing_is_left(assets: Path, tmp_path: Path) -> None:
    made = _compile(assets / "kws" / "reference_int8.tflite", "ethos-u55-128", tmp_path)
    assert (made.mapping.operators, made.mapping.mapped, made.mapping.partitions) == (13, 13, 1)
    assert (made.mapping.share, made.mapping.left) == (1.0, ())
    assert made.mapping.accelerator == "ethos-u55-128"
    assert made.mapping.mode == Mode.MEASURED
    assert made.mapping.source.startswith("Vela ")
    (operation,) = inspect((tmp_path / "out" / made.compiled).read_bytes(), "").graphs[0].operations
    assert operation.name == "CUSTOM:ethos-u"


def _partly_taken(tmp_path: Path) -> Path:
    """A network of three operators, of which Vela leaves the second to the CPU."""
    aligned = schema.ResizeBilinearOptionsT()
    aligned.alignCorners = True
    steps = [
        Step(BUILTIN.LOGISTIC, (1, 2, 2, 4)),
        Step(BUILTIN.RESIZE_BILINEAR, (1, 17, 17, 4), (17, 17), aligned),
        Step(BUILTIN.LOGISTIC, (1, 17, 17, 4)),
    ]
    return chain(tmp_path / "net.tflite", (1, 2, 2, 4), steps, TYPE.INT8)


def test_what_vela_leaves_to_the_cpu_is_named_with_its_reason(tmp_path: Path) -> None:
    network = _partly_taken(tmp_path)
    made = _compile(network, "ethos-u65-256", tmp_path)
    assert made.mapping.places == (
        Place(operator="LOGISTIC", count=2, is_mapped=True, tensors=("made0", "made2")),
        Place(
            operator="RESIZE_BILINEAR",
            count=1,
            is_mapped=False,
            reason="Scaling matches and operation has unsupported scale-factor=16",
            tensors=("made1",),
        ),
    )
    assert made.mapping.partitions == 2


def test_a_packed_file_is_compiled_like_its_original_and_told_by_the_original_s_names(tmp_path: Path) -> None:
    network = _partly_taken(tmp_path)
    packed = tmp_path / "packed.tflite"
    packed.write_bytes(lean(network.read_bytes(), Keep(names=Names.NONE)))
    assert not any(tensor.name for tensor in inspect(packed.read_bytes(), "").graphs[0].tensors)
    names = tuple(operator.tensor for operator in reader.read(network).operators)
    made = []
    for artifact, tensors in ((network, ()), (packed, names)):
        folder = tmp_path / artifact.stem
        folder.mkdir()
        made.append((_compile(artifact, "ethos-u65-256", folder, tensors=tensors), folder / "out"))
    (one, _), (other, out) = made
    assert other.mapping == one.mapping
    assert [place.tensors for place in other.mapping.places] == [("made0", "made2"), ("made1",)]
    assert other.figures == one.figures
    compiled = inspect((out / other.compiled).read_bytes(), "").graphs[0]
    assert [operation.name for operation in compiled.operations] == [
        "CUSTOM:ethos-u",
        "RESIZE_BILINEAR",
        "CUSTOM:ethos-u",
    ]


def test_what_is_compiled_of_a_packed_file_is_smaller(assets: Path, tmp_path: Path) -> None:
    """35,840 bytes of the file as it was converted; 35,712 of the packed one."""
    network = assets / "kws" / "reference_int8.tflite"
    _by_hand(network, "ethos-u55-128", tmp_path)
    packed = tmp_path / network.name
    packed.write_bytes(lean(network.read_bytes(), Keep(names=Names.NONE)))
    made = _compile(packed, "ethos-u55-128", tmp_path)
    sizes = [path.stat().st_size for path in (tmp_path / "out" / made.compiled, tmp_path / made.compiled)]
    assert sizes[0] < sizes[1]


def test_operators_that_a_compiler_adds_count_neither_above_nor_below_the_line() -> None:
    def place(operator: str, count: int, **more: bool) -> Place:
        return Place(operator=operator, count=count, **more)

    places = (
        place("CONV_2D", 3, is_mapped=True),
        place("SOFTMAX", 1, is_mapped=False),
        place("TRANSPOSE", 2, is_mapped=False, is_added=True),
    )
    mapping = Mapping(accelerator="npu", mode=Mode.MEASURED, source="Vela", places=gathered(places), partitions=1)
    assert (mapping.mapped, mapping.operators, mapping.share) == (3, 4, 0.75)
    assert [left.operator for left in mapping.left] == ["SOFTMAX", "TRANSPOSE"]


def test_a_system_and_a_memory_mode_of_the_profile_are_used_and_noted(assets: Path, tmp_path: Path) -> None:
    network = assets / "kws" / "reference_int8.tflite"
    system = {"system_config": "Ethos_U55_Deep_Embedded", "memory_mode": "Sram_Only"}
    made = _compile(network, "ethos-u55-128", tmp_path, **system).figures
    assert {"system_config": made.system_config, "memory_mode": made.memory_mode} == system
    assert made.clock_hz == 200e6
    assert made.off_chip_flash_bytes == 0


def test_vela_chooses_what_the_profile_leaves_open(assets: Path, tmp_path: Path) -> None:
    network = assets / "kws" / "reference_int8.tflite"
    made = _compile(network, "ethos-u55-128", tmp_path, memory_mode="Sram_Only").figures
    assert (made.system_config, made.memory_mode) == ("Ethos_U55_High_End_Embedded", "Sram_Only")


def test_a_system_that_vela_does_not_know_is_refused_in_its_words(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="Vela refused") as caught:
        _compile(assets / "kws" / "reference_int8.tflite", "ethos-u55-128", tmp_path, system_config="None_Such")
    assert "System_Config.None_Such" in caught.value.why


def test_a_float_network_is_an_error_and_no_success_without_operators(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="maps no operator") as caught:
        _compile(assets / "kws" / "reference_float32.tflite", "ethos-u55-128", tmp_path)
    assert caught.value.why == "Operation has tensor with unsupported DataType Float32"
    assert "int8" in caught.value.remedy


def test_a_network_that_is_compiled_already_is_an_error(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="compiled for an Ethos-U already"):
        _compile(assets / "tflm" / "person_detect_vela.tflite", "ethos-u55-128", tmp_path)


def test_a_damaged_file_ends_vela_and_not_the_build(assets: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((assets / "kws" / "reference_int8.tflite").read_bytes()[:5000])
    with pytest.raises(StepError, match=r"Vela refused damaged\.tflite"):
        _compile(damaged, "ethos-u55-128", tmp_path)


def test_an_unknown_accelerator_is_refused_with_velas_words(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="ethos-u99-1") as caught:
        _compile(assets / "kws" / "reference_int8.tflite", "ethos-u99-1", tmp_path)
    assert "invalid choice" in caught.value.why


def test_an_absent_extra_is_said_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "ethosu", raising=False)
    assert tools.vela() is None
    job = EthosUJob(artifact="net.tflite", accelerator="ethos-u55-128", out=str(tmp_path))
    with pytest.raises(UnavailableError) as caught:
        ethosu.compile_(job, lambda text: None)
    assert caught.value.remedy == "Install it: pip install 'edgebuild[ethosu]'"


@pytest.mark.parametrize("text", ["", "system_config\nsome\n", "inference_time\nnan\n"])
def test_a_summary_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "net_summary_some.csv").write_text(text)
    with pytest.raises(StepError, match="summary of net cannot be read"):
        ethosu.read_summary(tmp_path, "net")


def test_a_missing_summary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="summary of net cannot be read"):
        ethosu.read_summary(tmp_path, "net")
