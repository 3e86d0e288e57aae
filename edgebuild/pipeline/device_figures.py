"""From what a target's own runtime and compiler said to measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from edgebuild.core.budget import Subject
from edgebuild.core.device import Arena, Compiled, DeviceReport, EdgeTpu, EthosU
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.target import Interpreter, Runtime
from edgebuild.execution import toolchain
from edgebuild.execution.session import Session
from edgebuild.pipeline import devices
from edgebuild.pipeline.fallback import FAILURES, reason
from edgebuild.pipeline.figures import TFLM_KERNELS, TFLM_PACKAGE, in_file
from edgebuild.runtimes.tflm import wheel

# What the arena's figure was found with: kernels' structures hold pointers of this size.
_POINTERS = "64-bit pointers"


def of_device(
    report: DeviceReport, flash_bytes: int | None, versions: Mapping[str, str], runtime: Runtime
) -> tuple[Measurement, ...]:
    """The figures that budgets may limit.

    Args:
        report: what was asked and answered.
        runtime: of the target, with the size of its code where that is known.
        flash_bytes: the constant data of the firmware's sources, as linked; None where there are none.
        versions: of the packages.
    """
    found: list[Measurement] = []
    if flash_bytes is not None:
        found.append(_flash(flash_bytes, runtime.code))
    if report.arena is not None:
        found.append(_of_arena(report.arena, versions, runtime.name))
    if report.edgetpu is not None:
        found.append(_share(report.edgetpu))
    if report.ethosu is not None:
        found += _of_ethosu(report.ethosu)
    if report.npu is not None:
        found += _of_npu(report.npu)
    return tuple(found)


def _flash(data_bytes: int, code_bytes: int | None) -> Measurement:
    """The model and its labels, and the runtime's code where that is known."""
    parts = {"model_bytes": data_bytes}
    if code_bytes is None:
        return replace(in_file(Subject.FLASH, data_bytes, Mode.ESTIMATED), settings=parts, of="model only")
    found = in_file(Subject.FLASH, data_bytes + code_bytes, Mode.ESTIMATED)
    return replace(found, settings=parts | {"runtime_bytes": code_bytes})


def arena(artifact: Path, runtime: Interpreter, session: Session) -> tuple[Measurement | None, str]:
    """The arena that a file for a runtime needs, or None and why it could not be found out."""
    if wheel.version() is None:
        return None, f"TensorFlow Lite Micro is not installed: {wheel.INSTALL}"
    try:
        made = session.run(devices.arena(session.give_file(artifact), artifact.name))
    except FAILURES as error:
        return None, reason(error)
    return _of_arena(made.result, toolchain.versions(), runtime), ""


def _of_arena(arena: Arena, versions: Mapping[str, str], runtime: Interpreter) -> Measurement:
    """The arena, and what it may be with 32-bit pointers; of a runtime that plans otherwise, what its RAM may be."""
    own = runtime.known
    least = min(own.ram_share * arena.required_bytes, arena.narrow_least_bytes or arena.required_bytes)
    sizes = {"recorded_bytes": arena.recorded_bytes, "head_bytes": arena.head_bytes, "tail_bytes": arena.tail_bytes}
    return Measurement(
        subject=Subject.ARENA,
        value=arena.required_bytes,
        unit=Subject.ARENA.unit,
        mode=Mode.MEASURED,
        where=TFLM_KERNELS,
        machine=f"TensorFlow Lite Micro with {_POINTERS}",
        settings=sizes,
        versions={TFLM_PACKAGE: versions.get(TFLM_PACKAGE, "")},
        of=f"TensorFlow Lite Micro planner; {own.ram}" if own.ram else "",
        between=(least, arena.required_bytes) if least < arena.required_bytes else None,
    )


def _share(found: EdgeTpu | EthosU | Compiled) -> Measurement:
    mapping = found.mapping
    return Measurement(
        subject=Subject.NPU_SHARE,
        value=mapping.share,
        unit=Subject.NPU_SHARE.unit,
        mode=mapping.mode,
        where=mapping.accelerator,
        machine=mapping.source,
        settings={"operators": mapping.operators, "mapped": mapping.mapped},
        of=f"file's {mapping.operators} operators",
    )


def _of_ethosu(found: EthosU) -> Iterator[Measurement]:
    figures, mapping = found.figures, found.mapping
    yield _share(found)
    for subject, value in ((Subject.NPU_LATENCY, figures.inference_s), (Subject.NPU_SRAM, figures.sram_bytes)):
        yield Measurement(
            subject=subject,
            value=value,
            unit=subject.unit,
            mode=Mode.ESTIMATED,
            where=mapping.accelerator,
            machine=f"{mapping.source}, {figures.system_config}, {figures.memory_mode}",
        )


def _of_npu(found: Compiled) -> Iterator[Measurement]:
    """What the compiler of a plug-in tells: the share, and estimates."""
    yield _share(found)
    for subject, value in ((Subject.NPU_LATENCY, found.inference_s), (Subject.NPU_SRAM, found.sram_bytes)):
        if value is not None:
            yield Measurement(
                subject=subject,
                value=value,
                unit=subject.unit,
                mode=Mode.ESTIMATED,
                where=found.mapping.accelerator,
                machine=found.mapping.source,
            )
