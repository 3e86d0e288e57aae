"""What a target's own runtime, kernels and compiler say of an artifact, asked where they are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgebuild import hashing, readback
from edgebuild.core.arena import Arena
from edgebuild.core.budget import Subject
from edgebuild.core.device import DeviceReport
from edgebuild.core.mapping import EdgeTpu, EthosU, Mapping, Parity
from edgebuild.core.target import Accelerator, Compiler, Interpreter, Kernels
from edgebuild.engine import device_steps as steps
from edgebuild.engine import fallback
from edgebuild.engine.fallback import UNMEASURED
from edgebuild.engine.material import Built, Data
from edgebuild.engine.session import Session
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import ChildBugError
from edgebuild.runtimes import compilers
from edgebuild.runtimes.tflm import wheel
from edgebuild.runtimes.tflm.jobs import MissingKernels, Sample

# "Didn't find op for builtin opcode 'ELU' version '1'."
_NO_KERNEL = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
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
    compiled: Path | None = None
    vector: Sample | None = None


def runs_on_tflm(built: Built) -> bool:
    """Whether an artifact is for TensorFlow Lite Micro, and that is installed here."""
    return built.plan.runtime.name == Interpreter.TFLM and wheel.version() is not None


def ask(built: Built, named: Built, data: Data | None, session: Session) -> Answered:
    """Ask all that has a say on an artifact's target.

    Args:
        built: the artifact as it ships.
        named: the same network with the names of its tensors.
        data: whose evaluation samples are run; None for none.
        session: where steps are done or found.

    Raises:
        EdgebuildError: the target's runtime or compiler refused the artifact.
    """
    plan = built.plan
    evaluation = data if data is not None and data.splits.evaluation_samples else None
    if plan.accelerator is not None:
        return _of_accelerator(named, plan.accelerator, session)
    if plan.runtime.name == Interpreter.TFLM:
        return _of_tflm(built, evaluation, session)
    if plan.runtime.kernels == Kernels.XNNPACK:
        return _of_xnnpack(built, named, evaluation, session)
    return Answered(DeviceReport())


def require_kernels(built: Built, session: Session) -> None:
    """Where TensorFlow Lite Micro can be asked, find out before anything is run whether it has all the kernels.

    Raises:
        StepError: it lacks some; names the layers they came from.
    """
    if not runs_on_tflm(built) or built.plan.accelerator is not None:
        return
    step = steps.kernels(built.plan.target, built.spec, wheel.version() or "")
    (made,) = session.run([step], steps.TFLM)
    missing = made.read(MissingKernels).operators
    if missing:
        culprits = [operator for operator in built.spec.operators if operator.name in missing]
        raise StepError(
            f"TensorFlow Lite Micro has no kernel for {readback.names_of(culprits, built.network)}",
            f"So says the runtime itself ({wheel.version()}), whatever the profile {built.plan.target} allows.",
            "Replace the layers named, or choose another target.",
        )


def _of_tflm(built: Built, data: Data | None, session: Session) -> Answered:
    version = wheel.version()
    if version is None:
        why = f"TensorFlow Lite Micro is not installed: {wheel.INSTALL}"
        note = "scored on LiteRT's reference kernels, which at times differ from it by a step"
        return Answered(DeviceReport(), {Subject.ARENA: why}, (f"{why}; {note}",))
    arena, lacking, notes = _arena(built, version, session)
    vector = None
    if data is not None:
        try:
            vector = session.run([steps.sample(built, data, version)], steps.TFLM)[0].read(Sample)
        except UNMEASURED as error:
            notes = (*notes, f"the firmware has no self-test: {lack(error, built)}")
    return Answered(DeviceReport(arena=arena), lacking, notes, vector=vector)


def _arena(built: Built, version: str, session: Session) -> tuple[Arena | None, dict[str, str], tuple[str, ...]]:
    """The arena; without one why not, for budgets on it and for people."""
    try:
        (made,) = session.run([steps.arena(built.path, version, built.plan.target)], steps.TFLM)
    except UNMEASURED as error:
        why = lack(error, built)
        return None, {Subject.ARENA: why}, (f"the arena was not measured: {why}",)
    return made.read(Arena), {}, ()


def _of_xnnpack(built: Built, named: Built, data: Data | None, session: Session) -> Answered:
    notes: list[str] = []
    delegation = parity = None
    try:
        delegation = session.run([steps.delegation(named)], steps.DELEGATION)[0].read(Mapping)
    except UNMEASURED as error:
        notes.append(f"which operators XNNPACK takes could not be read: {lack(error, built)}")
    if data is not None:
        try:
            parity = _parity(built, data, session)
        except UNMEASURED as error:
            families = " and ".join(steps.FAMILIES)
            notes.append(f"outputs on {families} kernels were not compared: {lack(error, built)}")
    return Answered(DeviceReport(delegation=delegation, parity=parity), notes=tuple(notes))


def lack(error: StepError | UnavailableError | ChildBugError, built: Built) -> str:
    """Why kernels that run no part of what ships did not run it, with the layer where they name the operator."""
    match = _NO_KERNEL.search(error.why) if isinstance(error, StepError) else None
    if match is None:
        return fallback.reason(error)
    lacking = [operator for operator in built.spec.operators if operator.name == match[1]]
    return f"LiteRT's reference kernels have no {readback.names_of(lacking, built.network) or match[1]}"


def _parity(built: Built, data: Data, session: Session) -> Parity:
    """Each family in a child of its own: some files end the process in one of them."""
    runs = [steps.outputs(built, data, family) for family in steps.FAMILIES]
    first, second = (str(session.run([run], steps.PARITY)[0].path) for run in runs)
    step = steps.parity(built, (first, second), [run.depends_on for run in runs])
    (made,) = session.run([step], steps.PARITY)
    return made.read(Parity)


def _of_accelerator(named: Built, accelerator: Accelerator, session: Session) -> Answered:
    if accelerator.compiler == Compiler.EDGETPU:
        return _of_edgetpu(named, accelerator, session)
    version = compilers.vela()
    if version is None:
        why = f"Vela is not installed: {compilers.VELA_INSTALL}"
        lacking = dict.fromkeys((Subject.NPU_SHARE, Subject.NPU_LATENCY, Subject.NPU_SRAM), why)
        return Answered(DeviceReport(), {str(subject): text for subject, text in lacking.items()}, (why,))
    (made,) = session.run([steps.vela(named, accelerator, version, session.run_limits.memory_bytes)], steps.VELA)
    found = made.read(EthosU)
    return Answered(
        DeviceReport(ethosu=found),
        notes=tuple(_left(found.mapping, named)),
        compiled=made.path / found.compiled,
    )


def _of_edgetpu(named: Built, accelerator: Accelerator, session: Session) -> Answered:
    compiler = compilers.edgetpu()
    if compiler is None:
        try:
            (made,) = session.run([steps.edgetpu_rules(named, accelerator.memory)], steps.EDGETPU)
        except UNMEASURED as error:
            why = f"what the Edge TPU runs could not be predicted: {fallback.reason(error)}"
            return Answered(DeviceReport(), {**_UNTOLD, Subject.NPU_SHARE: why}, (why,))
        found = made.read(EdgeTpu)
        note = f"what the Edge TPU runs is predicted; its compiler is not installed: {compilers.EDGETPU_INSTALL}"
        return Answered(DeviceReport(edgetpu=found), _UNTOLD, notes=(note, *_left(found.mapping, named)))
    step = steps.edgetpu(named, hashing.of_file(Path(compiler)), session.run_limits.memory_bytes)
    (made,) = session.run([step], steps.EDGETPU)
    found = made.read(EdgeTpu)
    return Answered(
        DeviceReport(edgetpu=found),
        _UNTOLD,
        notes=tuple(_left(found.mapping, named)),
        compiled=made.path / found.compiled,
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
