"""Vela, the compiler of the Ethos-U NPUs: the child that runs it on an artifact and reads what it says.

Vela runs in a process of its own below the child: it ends with a signal on some damaged files. Its figures are its own
estimates; Arm asks that a network be run on an FVP or an FPGA for more.

Vela tells what it left by the names of tensors, and writes those of tensors between its parts into its file: it is
given numbers, which are short, and which packed files lack.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgebuild.actions.runtimes import EthosUJob
from edgebuild.child import Say
from edgebuild.core.mapping import EthosU, Mapping
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import names
from edgebuild.runtimes import compilers, tools
from edgebuild.runtimes.ethosu import fallbacks, summary

_MODULE = "ethosu.vela"


def compile_(job: EthosUJob, _: Say) -> EthosU:
    """Compile, and read Vela's summary and what it left to the CPU.

    Raises:
        UnavailableError: Vela is not installed.
        StepError: Vela refused the artifact, or maps none of its operators.
    """
    version = compilers.vela()
    if version is None:
        remedy = f"Install it: {compilers.VELA_INSTALL}"
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
        given = fallbacks.Compiled(
            job.accelerator, f"Vela {version}", numbered.read_bytes(), compiled.read_bytes(), ran.text
        )
    tensors = job.tensors or [operator.tensor for operator in reader.parse(data, artifact.name).operators]
    mapping = fallbacks.mapping(given, tensors)
    _require_mapped(mapping, artifact.name)
    return EthosU(mapping=mapping, compiled=compiled.name, figures=summary.read(out, artifact.stem))


def _numbered(data: bytes) -> bytes:
    """The file with numbers for names; a damaged one as it is, so that Vela says what it makes of it."""
    try:
        inspect(data, "the artifact")
    except StepError:
        return data
    return names.numbered(data)


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
    if any(place.operator == fallbacks.NPU for place in mapping.places):
        raise StepError(f"{name} is compiled for an Ethos-U already", remedy="Give the network before Vela.")
    if mapping.mapped == 0:
        reasons = dict.fromkeys(place.reason for place in mapping.left if place.reason)
        raise StepError(
            f"Vela maps no operator of {name} to {mapping.accelerator}",
            next(iter(reasons), ""),
            "The NPU computes integers alone: quantize to int8 or int16x8 (--quantize int8).",
        )
