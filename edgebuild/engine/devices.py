"""What a target's own runtime, kernels and compiler say of an artifact, asked where they are installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from edgebuild import hashing, readback
from edgebuild.core.arena import Arena
from edgebuild.core.budget import Subject
from edgebuild.core.device import DeviceReport
from edgebuild.core.mapping import EdgeTpu, EthosU, Mapping, Parity
from edgebuild.core.target import Accelerator, Compiler, Kernels
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

T = TypeVar("T")

_COMPARED = f"outputs on {' and '.join(steps.FAMILIES)} kernels were not compared"
_EQUAL = "1,000 of 1,000 rows of MLPerf Tiny's keyword spotting"
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
    """Whether an artifact is for TensorFlow Lite Micro, if with other kernels, and that is installed here."""
    return built.plan.runtime.name.is_tflm and wheel.version() is not None


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
        return _of_accelerator(built, named, plan.accelerator, session)
    if plan.runtime.name.is_micro:
        return _of_micro(built, evaluation, session)
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


def _of_micro(built: Built, data: Data | None, session: Session) -> Answered:
    """The arena, as TensorFlow Lite Micro plans it, and which runtime the figures are of."""
    runtime, version = built.plan.runtime.name, wheel.version()
    notes = [*_standing(built)]
    parity = vector = None
    if data is not None and not runtime.is_tflm:
        parity = _noted(lambda: _parity(built, data, session), _COMPARED, built, notes)
    if version is None:
        why = f"TensorFlow Lite Micro is not installed: {wheel.INSTALL}"
        note = "; scored on LiteRT's reference kernels, which at times differ from it by a step"
        notes.append(why + (note if runtime.is_tflm else ""))
        return Answered(DeviceReport(parity=parity), {Subject.ARENA: why}, tuple(notes))
    arena, why = _arena(built, version, session)
    notes += [f"the arena was not measured: {why}"] if why else []
    if data is not None and runtime.is_tflm:
        sample = steps.sample(built, data, version)
        run = lambda: session.run([sample], steps.TFLM)[0].read(Sample)  # noqa: E731
        vector = _noted(run, "the firmware has no self-test", built, notes)
    lacking = {str(Subject.ARENA): why} if why else {}
    return Answered(DeviceReport(arena=arena, parity=parity), lacking, tuple(notes), vector=vector)


def _standing(built: Built) -> Iterator[str]:
    """Which runtime the figures are of, where that is not the target's own."""
    runtime, kernels = built.plan.runtime.name, built.plan.runtime.kernels
    if not runtime.known.ram:
        return
    if runs_on_tflm(built):
        scored = f"scored on TensorFlow Lite Micro, whose outputs are {runtime.called}'s ({_EQUAL})"
    elif kernels == runtime.known.kernels and not runtime.is_tflm:
        scored = f"scored on LiteRT's {kernels} kernels, whose outputs are {runtime.called}'s ({_EQUAL})"
    else:
        scored = f"scored on LiteRT's {kernels} kernels, from which {runtime.called} at times differs by a step"
    yield f"{scored}; the arena is TensorFlow Lite Micro's: {runtime.known.ram}"


def _arena(built: Built, version: str, session: Session) -> tuple[Arena | None, str]:
    """The arena; without one why not."""
    try:
        (made,) = session.run([steps.arena(built.path, version, built.plan.target)], steps.TFLM)
    except UNMEASURED as error:
        return None, lack(error, built)
    return made.read(Arena), ""


def _of_xnnpack(built: Built, named: Built, data: Data | None, session: Session) -> Answered:
    notes: list[str] = []
    read = lambda: session.run([steps.delegation(named)], steps.DELEGATION)[0].read(Mapping)  # noqa: E731
    delegation = _noted(read, "which operators XNNPACK takes could not be read", built, notes)
    parity = None
    if data is not None:
        parity = _noted(lambda: _parity(built, data, session), _COMPARED, built, notes)
    return Answered(DeviceReport(delegation=delegation, parity=parity), notes=tuple(notes))


def _noted(ask: Callable[[], T], lacks: str, built: Built, notes: list[str]) -> T | None:
    """What was asked; None where it cannot be had, and a note of it."""
    try:
        return ask()
    except UNMEASURED as error:
        notes.append(f"{lacks}: {lack(error, built)}")
    return None


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


def _of_accelerator(built: Built, named: Built, accelerator: Accelerator, session: Session) -> Answered:
    if accelerator.compiler == Compiler.EDGETPU:
        return _of_edgetpu(named, accelerator, session)
    version = compilers.vela()
    if version is None:
        why = f"Vela is not installed: {compilers.VELA_INSTALL}"
        lacking = dict.fromkeys((Subject.NPU_SHARE, Subject.NPU_LATENCY, Subject.NPU_SRAM), why)
        return Answered(DeviceReport(), {str(subject): text for subject, text in lacking.items()}, (why,))
    (made,) = session.run([steps.vela(built, accelerator, version, session.run_limits.memory_bytes)], steps.VELA)
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
