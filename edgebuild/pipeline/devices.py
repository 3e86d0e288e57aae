"""What a target's own runtime, kernels and compiler say of an artifact, asked where they are installed.

A new compiler is a kind of action in `actions.runtimes`, a function here, and a line in the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping as MappingOf
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from edgebuild import hashing, readback
from edgebuild.actions.runtimes import (
    COMPILE,
    DELEGATION,
    EDGETPU,
    EDGETPU_RULES,
    ETHOS_U,
    TFLM_ARENA,
    TFLM_KERNELS,
    TFLM_SAMPLE,
    ArenaJob,
    CompileJob,
    DelegationJob,
    EdgeTpuJob,
    EdgeTpuRulesJob,
    EthosUJob,
    KernelsJob,
    SampleJob,
)
from edgebuild.core.action import Action, Ref
from edgebuild.core.budget import Subject
from edgebuild.core.delivery import Vector
from edgebuild.core.device import Arena, DeviceReport, EthosU, Mapping, Parity
from edgebuild.core.target import Accelerator, Compiler, Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.execution.session import Session
from edgebuild.pipeline import demands, fallback
from edgebuild.pipeline.artifacts import Built, Data
from edgebuild.pipeline.fallback import UNMEASURED
from edgebuild.process import ChildBugError
from edgebuild.runtimes import tools
from edgebuild.runtimes.tflm import wheel

T = TypeVar("T")

# Whose outputs are compared where the target's kernels are XNNPACK's.
_FAMILIES = (Kernels.XNNPACK, Kernels.REFERENCE)
_COMPARED = f"outputs on {' and '.join(_FAMILIES)} kernels were not compared"
_EQUAL = "1,000 of 1,000 rows of MLPerf Tiny's keyword spotting"
# "Didn't find op for builtin opcode 'ELU' version '1'."
_NO_KERNEL = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
# What the Edge TPU compiler does not print.
_UNTOLD = {
    str(subject): "the Edge TPU compiler gives neither time nor memory of an inference: limit npu_share or size"
    for subject in (Subject.NPU_LATENCY, Subject.NPU_SRAM)
}


def runs_on_tflm(built: Built) -> bool:
    """Whether an artifact is for TensorFlow Lite Micro, if with other kernels, and that is installed here."""
    return built.plan.runtime.name.is_tflm and wheel.version() is not None


def ask(built: Built, named: Built, data: Data | None, session: Session) -> Answered:
    """Ask all that has a say on an artifact's target.

    Args:
        built: the artifact as it ships.
        named: the same network with the names of its tensors.
        data: whose evaluation samples are run; None for none.
        session: where actions are done or found.

    Raises:
        EdgebuildError: the target's runtime or compiler refused the artifact.
    """
    plan = built.plan
    evaluation = data if data is not None and data.splits.evaluation_samples else None
    if plan.accelerator is not None:
        return _ask(built, named, plan.accelerator, session)
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
    operators = tuple(sorted({operator.name for operator in built.spec.operators}))
    missing = session.run(TFLM_KERNELS.action(KernelsJob(operators=operators), of=built.plan.target)).result.operators
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
        notes.append(why + ("" if notes or not runtime.is_tflm else note))
        return Answered(DeviceReport(parity=parity), {Subject.ARENA: why}, tuple(notes))
    arena, why = _arena(built, session)
    notes += [f"the arena was not measured: {why}"] if why else []
    if data is not None and runtime.is_tflm:
        sample = _sample(built, data)
        vector = _noted(lambda: session.run(sample).result, "the firmware has no self-test", built, notes)
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
    arena = f"; the arena is TensorFlow Lite Micro's: {runtime.known.ram}" if wheel.version() is not None else ""
    yield f"{scored}{arena}"


def _sample(built: Built, data: Data) -> Action[Vector]:
    """Run a sample on TensorFlow Lite Micro (two where state is kept), for firmware to check itself by."""
    job = SampleJob(
        artifact=str(built.ref),
        spec=built.spec,
        samples=str(data.evaluation.ref),
        preprocess=built.plan.preprocess,
        streams=bool(built.network.streams),
    )
    return TFLM_SAMPLE.action(job, of=built.plan.target)


def arena(artifact: Ref, of: str) -> Action[Arena]:
    """Find the arena that TensorFlow Lite Micro needs; `of` goes before the title."""
    return TFLM_ARENA.action(ArenaJob(artifact=str(artifact)), of=of)


def _arena(built: Built, session: Session) -> tuple[Arena | None, str]:
    """The arena; without one why not."""
    try:
        return session.run(arena(built.ref, built.plan.target)).result, ""
    except UNMEASURED as error:
        return None, lack(error, built)


def _of_xnnpack(built: Built, named: Built, data: Data | None, session: Session) -> Answered:
    notes: list[str] = []
    asked = DELEGATION.action(DelegationJob(artifact=str(named.ref)), of=named.plan.target)
    delegation = _noted(
        lambda: session.run(asked).result, "which operators XNNPACK takes could not be read", built, notes
    )
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
    first, second = (session.run(demands.outputs(built, data, family)).ref() for family in _FAMILIES)
    names = (str(_FAMILIES[0]), str(_FAMILIES[1]))
    title = f"hold {' and '.join(names)} kernels against each other"
    return session.run(demands.parity(built, names, (first, second), title)).result


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


class _Ask(Protocol):
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


_COMPILERS: MappingOf[str, _Ask] = {Compiler.EDGETPU: _of_edgetpu, Compiler.VELA: _of_vela}


def _ask(built: Built, named: Built, accelerator: Accelerator, session: Session) -> Answered:
    """Ask the compiler of an accelerator, see `Ask`."""
    return _COMPILERS.get(accelerator.compiler, _of_plugin)(built, named, accelerator, session)
