"""Whether a target can use an artifact, and what it never takes, found before anything is trained or calibrated.

LiteRT's kernels stand in for those of runtimes that do not run here. What a stand-in lacks (its reference kernels have
no ELU), or where it crashes, is no fault of the artifact: other kernels stand in, and this is said.

The conversion is one that a build needs in any case, to compare with. Where the network does not fit as it was given
but does once it is carried over to tf_keras, which is proved to compute the same, that is what is built: whether a
network can be built does not depend on the passes that carry it over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import readback
from edgebuild.actions import conversion, networks
from edgebuild.actions.runtimes import RUNS, TFLM_RUNS, RunsJob
from edgebuild.core.plan import Plan
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.errors import StepError
from edgebuild.execution.session import Session
from edgebuild.pipeline import asking, devices, fallback, prepare
from edgebuild.pipeline.artifacts import Built, Data, Network
from edgebuild.pipeline.compress import with_layers_of_nested
from edgebuild.pipeline.fallback import FAILURES
from edgebuild.pipeline.prepare import Shared
from edgebuild.process import ChildBugError

# "Node number 3 (ELU) failed to prepare" of LiteRT, "Node ELU (number 3f) failed to prepare" of TFLM.
_NODE = re.compile(r"Node (?:number (\d+) \((\w+)\)|(\w+) \(number (\d+)f?\)) failed")


def usable(built: Built, session: Session) -> Built:
    """An artifact that fits its plan and runs on its target's runtime, or on the kernels that stand in for it.

    Returns:
        The artifact; with other kernels in its plan, and a note, where those of the plan stand in and do not run it.

    Raises:
        StepError: it does not fit, or does not run; names operators and layers as far as the runtime does.
    """
    readback.require_fit(built.spec, built.network, built.plan)
    devices.require_kernels(built, session)
    on_tflm = devices.runs_on_tflm(built) and built.plan.accelerator is None
    try:
        if on_tflm:
            session.run(TFLM_RUNS.action(RunsJob(artifact=str(built.ref)), of=built.plan.target))
        elif not _stands_in(built.plan):
            _run_on_litert(built, session)
    except StepError as error:
        raise _named(error, built) from None
    return _on_kernels_that_run(built, session, is_proved=on_tflm) if _stands_in(built.plan) else built


def _stands_in(plan: Plan) -> bool:
    """Whether LiteRT's kernels are here in place of another runtime's or of an accelerator's."""
    return plan.runtime.name is not Interpreter.LITERT or plan.accelerator is not None


def _on_kernels_that_run(built: Built, session: Session, *, is_proved: bool) -> Built:
    """The artifact with the first kernels that run it; `is_proved` is whether its own runtime did."""
    planned = built.plan.runtime.kernels
    first: StepError | ChildBugError | None = None
    for kernels in dict.fromkeys((planned, Kernels.BUILTIN)):
        runtime = replace(built.plan.runtime, kernels=kernels)
        tried = built._replace(plan=replace(built.plan, runtime=runtime))
        try:
            _run_on_litert(tried, session)
        except FAILURES as error:
            first = first or error
            continue
        return tried if first is None else tried._replace(notes=(*tried.notes, _other(first, built, kernels)))
    assert first is not None, "there are kernels to try"
    if is_proved:
        note = "LiteRT does not run it on this machine, so nothing was compared on its kernels"
        return built._replace(notes=(*built.notes, f"{note}: {devices.lack(first, built)}"))
    raise _named(first, built) if isinstance(first, StepError) else first


def _run_on_litert(built: Built, session: Session) -> None:
    job = RunsJob(artifact=str(built.ref), kernels=built.plan.runtime.kernels)
    session.run(RUNS.action(job, of=built.plan.target))


def _other(error: StepError | ChildBugError, built: Built, kernels: Kernels) -> str:
    planned = built.plan.runtime.kernels
    return (
        f"LiteRT's {kernels} kernels stand in for its {planned} kernels, from which they at times differ by a step: "
        f"{devices.lack(error, built)}"
    )


def _named(error: StepError, built: Built) -> StepError:
    """The runtime's refusal with the layer of the operator that it names; as it is where it names none."""
    match = _NODE.search(error.why)
    if match is None:
        return error
    number, name = int(match[1] or match[4]), match[2] or match[3]
    operators = built.spec.operators
    if number >= len(operators) or operators[number].name != name:
        return error
    reasons = [line.strip() for line in error.why[: match.start()].splitlines() if line.strip()]
    where = readback.names_of([operators[number]], built.network)
    return StepError(
        f"the runtime of {built.plan.target} does not run {where}",
        reasons[-1] if reasons else match[0],
        "Replace the layer named.",
    )


class Base(NamedTuple):
    """The network that a target's build begins with, and what there is to say of it."""

    network: Network
    notes: tuple[str, ...] = ()


def base_of(plan: Plan, shared: Shared, session: Session) -> Base:
    """The form of the network that the target takes without any pass.

    Args:
        plan: of the target. One that puts a student in the network's place says nothing of its operators.
        shared: the network and the data.
        session: where actions are done or found.

    Raises:
        StepError: the target takes the network in no form; names operators and layers as the given one has them.
    """
    network = _as_planned(plan, shared, session)
    if any(step.replaces_network for step in plan.changes):
        return Base(network)
    _require_no_loops(plan, network)
    try:
        _look(plan, network, shared.data, session)
    except FAILURES as error:
        carried = _carried(plan, shared, session)
        if carried is None:
            raise
        try:
            _look(plan, carried.network, shared.data, session)
        except FAILURES:
            raise error from None
        return carried
    return Base(network, tuple(_written_out(network)))


def with_recurrent_layers(plan: Plan, base: Base, shared: Shared, session: Session) -> Base:
    """A target's network for a plan of it that has another scheme, whose kernels may take recurrent layers otherwise.

    Raises:
        StepError: they cannot be written as the plan has them.
    """
    if _has_layers_as(plan, base.network):
        return base
    network = _as_planned(plan, shared, session)
    _require_no_loops(plan, network)
    return Base(network, tuple(_written_out(network)))


def _has_layers_as(plan: Plan, network: Network) -> bool:
    """Whether the recurrent layers of a network, if there are any, are as a plan has them."""
    return network.frozen.recurrent == plan.quantize.recurrent or not network.frozen.has_recurrent_layers


def _as_planned(plan: Plan, shared: Shared, session: Session) -> Network:
    """The network with its recurrent layers as this target has them; all targets share that of the first."""
    if _has_layers_as(plan, shared.network):
        return shared.network
    return prepare.as_planned(plan, shared.loaded, session)


def _require_no_loops(plan: Plan, network: Network) -> None:
    """Refuse what is known to end the converter's process."""
    loops = network.frozen.loops
    if not loops or not plan.quantize.scheme.needs_calibration:
        return
    said = ", ".join(f"{loop.layer} ({loop.steps:,} steps)" if loop.steps else loop.layer for loop in loops)
    why = f"TensorFlow's converter does not quantize loops to {plan.quantize.scheme}."
    floats = plan.operators.float
    if any(loop.steps for loop in loops):
        raise StepError(
            f"{said} would stay a loop: sequences of up to {networks.MOST_STEPS} steps are written out one after "
            "another",
            why,
            'Set [passes.quantize] recurrent = "unrolled" to write out all of them (1 to 6 kB a step in the file, '
            f"conversions of minutes),{' choose --quantize dynamic or float16,' if floats else ''} or feed shorter "
            "sequences.",
        )
    raise StepError(
        f"the network computes in a loop: {said}",
        f"{why} The layers of this file are not known, so that its steps cannot be written out.",
        "Give the .keras or .h5 file of the network"
        + (", or choose --quantize dynamic or float16." if floats else "."),
    )


def _written_out(network: Network) -> Iterator[str]:
    """What is said of steps that were written out."""
    fused = network.frozen.fused
    if fused:
        said = ", ".join(dict.fromkeys(loop.layer for loop in fused))
        yield f"recurrent layers are one operator each, which clears its state after each inference: {said}"
    unrolled = network.frozen.unrolled
    if unrolled:
        said = ", ".join(dict.fromkeys(f"{loop.layer} ({loop.steps:,})" for loop in unrolled))
        state = "" if network.frozen.network.streams else ", and no state is kept from one inference to the next"
        yield (
            f"recurrent layers are written out step by step, outputs proved equal: {said}; the file grows by the "
            f"operators of each step{state}"
        )


def without_passes(plan: Plan, network: Network) -> Plan:
    """The plan that only quantizes, its layers named as the network has them."""
    dense = replace(with_layers_of_nested(plan, network).quantize, sparse=False)
    return replace(plan, passes=(dense,))


def converted(plan: Plan, network: Network, data: Data | None, session: Session, title: str = "") -> Built:
    """Convert a network without any pass before.

    Raises:
        StepError: the converter refused it, it does not fit its target, or does not run there.
    """
    made = session.run(asking.quantize(plan, network, data, title))
    spec = readback.in_order(made.result.artifact, network.frozen.network)
    return usable(Built(plan, made.ref(conversion.ARTIFACT), spec, None, (), network.frozen.network), session)


def _look(plan: Plan, network: Network, data: Data | None, session: Session) -> None:
    title = "convert the network as it is, to see whether it fits"
    plain = without_passes(plan, network)
    fallback.first_that_works(plain, lambda tried: converted(tried, network, data, session, title))


def _carried(plan: Plan, shared: Shared, session: Session) -> Base | None:
    """The network as tf_keras has it; None where it cannot be carried over."""
    try:
        layered = prepare.with_layers(plan, shared.loaded, session)
        return Base(prepare.frozen(plan, layered.ref, session), layered.carried.notes)
    except FAILURES:
        return None
