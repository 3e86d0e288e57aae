"""Vela, the compiler of the Ethos-U NPUs: the child that runs it on an artifact and reads what it says.

Vela runs in a process of its own below the child: it ends with a signal on some damaged files. Its figures are its own
estimates; Arm asks that a network be run on an FVP or an FPGA for more.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgebuild.child import Job, Say
from edgebuild.core.mapping import EthosU, Mapping
from edgebuild.errors import StepError, UnavailableError
from edgebuild.runtimes import compilers, tools
from edgebuild.runtimes.ethosu import fallbacks, summary
from edgebuild.runtimes.jobs import EthosUJob

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
    ran = tools.run(_command(job), out, job.memory_bytes)
    compiled = out / f"{artifact.stem}_vela.tflite"
    if ran.code != 0 or not compiled.is_file():
        raise StepError(f"Vela refused {artifact.name} for {job.accelerator}", ran.ending)
    mapping = fallbacks.mapping(job.accelerator, f"Vela {version}", data, compiled.read_bytes(), ran.text)
    _require_mapped(mapping, artifact.name)
    return EthosU(mapping=mapping, compiled=compiled.name, figures=summary.read(out, artifact.stem))


def _command(job: EthosUJob) -> list[str | Path]:
    command: list[str | Path] = [sys.executable, "-P", "-m", _MODULE, Path(job.artifact).resolve()]
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


JOBS = {"ethos-u": Job(EthosUJob, compile_)}
