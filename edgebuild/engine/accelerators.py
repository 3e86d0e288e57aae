"""What the compilers of accelerators make of an artifact: for each how it is asked, and what it answers.

A new compiler is a kind of action in `actions.runtimes`, a function here, and a line in the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as MappingOf
from pathlib import Path
from typing import NamedTuple, Protocol

from edgebuild import hashing, readback
from edgebuild.actions.runtimes import (
    COMPILE,
    EDGETPU,
    EDGETPU_RULES,
    ETHOS_U,
    CompileJob,
    EdgeTpuJob,
    EdgeTpuRulesJob,
    EthosUJob,
)
from edgebuild.core.action import Action, Ref
from edgebuild.core.budget import Subject
from edgebuild.core.delivery import Vector
from edgebuild.core.device import DeviceReport, EthosU, Mapping
from edgebuild.core.target import Accelerator, Compiler
from edgebuild.engine import fallback
from edgebuild.engine.fallback import UNMEASURED
from edgebuild.engine.material import Built
from edgebuild.errors import UnavailableError
from edgebuild.execution.session import Session
from edgebuild.runtimes import tools

# What the Edge TPU compiler does not print.
_UNTOLD = {
    str(subject): "the Edge TPU compiler gives neither time nor memory of an inference: limit npu_share or size"
    for subject in (Subject.NPU_LATENCY, Subject.NPU_SRAM)
}


class Answered(NamedTuple):
    """What was asked and answered.

    Attributes:
        report: for the manifest.
        lacking: why a figure could not be had, by its subject.
        notes: what there is to say.
        compiled: the file for the accelerator; None where there is none.
        vector: one sample as TensorFlow Lite Micro ran it; None where it was not asked.
    """

    report: DeviceReport
    lacking: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    compiled: Ref | None = None
    vector: Vector | None = None


class Ask(Protocol):
    """Asks a compiler: takes the artifact as it ships, the same with the names of its tensors, and the accelerator."""

    def __call__(self, built: Built, named: Built, accelerator: Accelerator, session: Session, /) -> Answered:
        """What it answers; raises EdgebuildError where it refuses the artifact."""


def _of_vela(built: Built, named: Built, accelerator: Accelerator, session: Session) -> Answered:
    if tools.vela() is None:
        why = f"Vela is not installed: {tools.VELA_INSTALL}"
        lacking = dict.fromkeys((Subject.NPU_SHARE, Subject.NPU_LATENCY, Subject.NPU_SRAM), why)
        return Answered(DeviceReport(), {str(subject): text for subject, text in lacking.items()}, (why,))
    made = session.run(_vela(built, accelerator))
    found = made.result
    return Answered(
        DeviceReport(ethosu=found),
        notes=tuple(_left(found.mapping, named)),
        compiled=made.ref(found.compiled),
    )


def _vela(built: Built, accelerator: Accelerator) -> Action[EthosU]:
    """Compile for an Ethos-U; the file may lack the names of its tensors, which the build knows."""
    job = EthosUJob(
        artifact=str(built.ref),
        tensors=tuple(operator.tensor for operator in built.spec.operators),
        accelerator=accelerator.configuration,
        system_config=accelerator.system_config,
        memory_mode=accelerator.memory_mode,
    )
    return ETHOS_U.action(job, of=built.plan.target)


def _of_edgetpu(_built: Built, named: Built, accelerator: Accelerator, session: Session) -> Answered:
    compiler = tools.edgetpu()
    if compiler is None:
        try:
            rules = EdgeTpuRulesJob(artifact=str(named.ref), memory_bytes=accelerator.memory)
            found = session.run(EDGETPU_RULES.action(rules, of=named.plan.target)).result
        except UNMEASURED as error:
            why = f"what the Edge TPU runs could not be predicted: {fallback.reason(error)}"
            return Answered(DeviceReport(), {**_UNTOLD, Subject.NPU_SHARE: why}, (why,))
        note = f"what the Edge TPU runs is predicted; its compiler is not installed: {tools.EDGETPU_INSTALL}"
        return Answered(DeviceReport(edgetpu=found), _UNTOLD, notes=(note, *_left(found.mapping, named)))
    job = EdgeTpuJob(artifact=str(named.ref), compiler=hashing.of_file(Path(compiler)))
    made = session.run(EDGETPU.action(job, of=named.plan.target))
    found = made.result
    return Answered(
        DeviceReport(edgetpu=found),
        _UNTOLD,
        notes=tuple(_left(found.mapping, named)),
        compiled=made.ref(found.compiled),
    )


def _left(mapping: Mapping, named: Built) -> Iterator[str]:
    """A sentence for each kind of operator that stays on the CPU."""
    for place in mapping.left:
        layers = dict.fromkeys(
            layer for tensor in place.tensors for layer in readback.layers_of(tensor, named.network.layers)
        )
        origin = f" (from {', '.join(layers)})" if layers else ""
        why = ": ".join(filter(None, [place.reason, place.detail]))
        yield f"{place.count} {place.operator}{origin} on the CPU" + (f": {why}" if why else "")


def _of_plugin(built: Built, named: Built, accelerator: Accelerator, session: Session) -> Answered:
    try:
        job = CompileJob(artifact=str(built.ref), accelerator=accelerator)
        made = session.run(COMPILE.action(job, of=built.plan.target))
    except UnavailableError as error:
        why = ". ".join(filter(None, [error.what, error.why.rstrip("."), error.remedy]))
        lacking = dict.fromkeys(map(str, (Subject.NPU_SHARE, *accelerator.tells)), why)
        return Answered(DeviceReport(), lacking, (why,))
    found = made.result
    return Answered(
        DeviceReport(npu=found),
        notes=tuple(_left(found.mapping, named)),
        compiled=made.ref(found.compiled) if found.compiled else None,
    )


_COMPILERS: MappingOf[str, Ask] = {Compiler.EDGETPU: _of_edgetpu, Compiler.VELA: _of_vela}


def ask(built: Built, named: Built, accelerator: Accelerator, session: Session) -> Answered:
    """Ask the compiler of an accelerator, see `Ask`."""
    return _COMPILERS.get(accelerator.compiler, _of_plugin)(built, named, accelerator, session)
