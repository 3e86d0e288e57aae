"""Vela, the compiler of the Ethos-U NPUs: the child that runs it on an artifact and reads what it says.

Vela runs in a process of its own below the child: it ends with a signal on some damaged files. Its figures are its own
estimates; Arm asks that a network be run on an FVP or an FPGA for more.

Vela tells what it left by the names of tensors, and writes those of tensors between its parts into its file: it is
given numbers, which are short, and which packed files lack.
"""

from __future__ import annotations

import csv
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ai_edge_litert import schema_py_generated as schema

from edgebuild.actions.runtimes import EthosUJob
from edgebuild.child import Say
from edgebuild.core.device import EthosU, Mapping, NpuFigures, Place, gathered
from edgebuild.core.measurement import Mode
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import ends
from edgebuild.runtimes import tools

_MODULE = "ethosu.vela"
_KIB = 1024
_NPU = "CUSTOM:ethos-u"
_WARNING = re.compile(
    r"^Warning \([^)\n]*\) operator: [^\n]*?, ofm: '(?P<tensor>[^\n]*)'\nReason: (?P<reason>[^\n]*)", re.MULTILINE
)
# Vela ends some reasons with the name of the tensor, by which equal reasons would differ.
_NAMED_TENSOR = re.compile(r" \([^()]*\)$")


def compile_(job: EthosUJob, _: Say) -> EthosU:
    """Compile, and read Vela's summary and what it left to the CPU.

    Raises:
        UnavailableError: Vela is not installed.
        StepError: Vela refused the artifact, or maps none of its operators.
    """
    version = tools.vela()
    if version is None:
        remedy = f"Install it: {tools.VELA_INSTALL}"
        raise UnavailableError("Vela, the compiler for Ethos-U, is not installed", remedy=remedy)
    artifact, out = Path(job.artifact), Path(job.out)
    data = artifact.read_bytes()
    compiled = out / f"{artifact.stem}_vela.tflite"
    with tempfile.TemporaryDirectory() as folder:
        numbered = Path(folder) / artifact.name
        numbered.write_bytes(_numbered(data))
        ran = tools.run(_command(job, numbered), out, job.memory_bytes)
        if ran.code != 0 or not compiled.is_file():
            raise StepError(f"Vela refused {artifact.name} for {job.accelerator}", ran.ending)
        given = _Compiled(job.accelerator, f"Vela {version}", numbered.read_bytes(), compiled.read_bytes(), ran.text)
    tensors = job.tensors or [operator.tensor for operator in reader.parse(data, artifact.name).operators]
    mapping = _mapping(given, tensors)
    _require_mapped(mapping, artifact.name)
    return EthosU(mapping=mapping, compiled=compiled.name, figures=read_summary(out, artifact.stem))


def _numbered(data: bytes) -> bytes:
    """The file with numbers for names; a damaged one as it is, so that Vela says what it makes of it."""
    try:
        inspect(data, "the artifact")
    except StepError:
        return data
    return ends.names_numbered(data)


def _command(job: EthosUJob, artifact: Path) -> list[str | Path]:
    command: list[str | Path] = [sys.executable, "-P", "-m", _MODULE, artifact.resolve()]
    command += ["--accelerator-config", job.accelerator, "--output-dir", Path(job.out).resolve()]
    if job.system_config:
        command += ["--system-config", job.system_config]
    if job.memory_mode:
        command += ["--memory-mode", job.memory_mode]
    return command


def _require_mapped(mapping: Mapping, name: str) -> None:
    """Vela calls it a success where the NPU has nothing to do."""
    if any(place.operator == _NPU for place in mapping.places):
        raise StepError(f"{name} is compiled for an Ethos-U already", remedy="Give the network before Vela.")
    if mapping.mapped == 0:
        reasons = dict.fromkeys(place.reason for place in mapping.left if place.reason)
        raise StepError(
            f"Vela maps no operator of {name} to {mapping.accelerator}",
            next(iter(reasons), ""),
            "The NPU computes integers alone: quantize to int8 or int16x8 (--quantize int8).",
        )


def read_summary(folder: Path, name: str) -> NpuFigures:
    """The figures of one network; raises StepError where Vela left none, or one that cannot be read."""
    try:
        (path,) = [file for file in folder.iterdir() if file.name.startswith(f"{name}_summary_")]
        with path.open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        return _figures(row)
    except (OSError, KeyError, ValueError) as error:
        raise StepError(f"Vela's summary of {name} cannot be read", f"{type(error).__name__}: {error}") from None


def _figures(row: dict[str, str]) -> NpuFigures:
    return NpuFigures(
        system_config=row["system_config"],
        memory_mode=row["memory_mode"],
        clock_hz=_finite(row["core_clock"]),
        inference_s=_finite(row["inference_time"]),
        inferences_per_s=_finite(row["inferences_per_second"]),
        sram_bytes=_bytes(row["sram_memory_used"]),
        dram_bytes=_bytes(row["dram_memory_used"]),
        on_chip_flash_bytes=_bytes(row["on_chip_flash_memory_used"]),
        off_chip_flash_bytes=_bytes(row["off_chip_flash_memory_used"]),
        macs=_whole(row["nn_macs"]),
        npu_cycles=_whole(row["cycles_npu"]),
        sram_cycles=_whole(row["cycles_sram_access"]),
        dram_cycles=_whole(row["cycles_dram_access"]),
        on_chip_flash_cycles=_whole(row["cycles_on_chip_flash_access"]),
        off_chip_flash_cycles=_whole(row["cycles_off_chip_flash_access"]),
        total_cycles=_whole(row["cycles_total"]),
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value


def _whole(text: str) -> int:
    return round(_finite(text))


def _bytes(kib: str) -> int:
    """Vela counts memory in KiB."""
    return round(_finite(kib) * _KIB)


class _Written(NamedTuple):
    """An operator, and the tensor that it writes first."""

    operator: str
    tensor: str


class _Compiled(NamedTuple):
    """What Vela was given and gave.

    Attributes:
        accelerator: Vela's name of the NPU.
        source: Vela and its version.
        artifact: the file before compilation; no two of its tensors have one name.
        compiled: Vela's file.
        printed: what Vela said.
    """

    accelerator: str
    source: str
    artifact: bytes
    compiled: bytes
    printed: str


def _mapping(given: _Compiled, tensors: Sequence[str]) -> Mapping:
    """The fate of an artifact's operators.

    Args:
        given: what Vela was given and gave.
        tensors: what each operator of the artifact writes first, for people.

    Raises:
        StepError: one of the files cannot be read.
    """
    reasons = {found["tensor"]: _NAMED_TENSOR.sub("", found["reason"]) for found in _WARNING.finditer(given.printed)}
    after = _written(given.compiled, "the compiled network")
    left = Counter(entry for entry in after if entry.operator != _NPU)
    before = _written(given.artifact, "the artifact")
    places = list(_places(before, tensors, left, reasons))
    # Operators that only the compiled file has are Vela's own helpers; they cost time on the CPU like the others.
    places += [
        Place(operator=entry.operator, count=1, is_mapped=False, is_added=True, reason=reasons.get(entry.tensor, ""))
        for entry in left.elements()
    ]
    return Mapping(
        accelerator=given.accelerator,
        mode=Mode.MEASURED,
        source=given.source,
        places=gathered(places),
        partitions=sum(entry.operator == _NPU for entry in after),
    )


def _places(
    before: Sequence[_Written], tensors: Sequence[str], left: Counter[_Written], reasons: dict[str, str]
) -> Iterator[Place]:
    """A place for each operator of the artifact; those that are found on the CPU are taken out of `left`."""
    for entry, tensor in zip(before, tensors, strict=True):
        is_mapped = left[entry] == 0
        if not is_mapped:
            left[entry] -= 1
        reason = "" if is_mapped else reasons.get(entry.tensor, "")
        yield Place(operator=entry.operator, count=1, is_mapped=is_mapped, reason=reason, tensors=(tensor,))


def _written(data: bytes, name: str) -> list[_Written]:
    """The operators of the first graph in order."""
    operators = reader.parse(data, name).operators
    graph: Any = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    found = []
    for position in range(graph.OperatorsLength()):
        tensor = graph.Tensors(graph.Operators(position).Outputs(0)).Name() or b""
        found.append(_Written(operators[position].name, tensor.decode("utf-8", "replace")))
    return found
