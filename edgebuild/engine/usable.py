"""Whether a target can use an artifact: it is what the plan promised, and the target's runtime loads and runs it.

LiteRT's kernels stand in for those of runtimes that do not run here. What a stand-in lacks (its reference kernels have
no ELU), or where it crashes, is no fault of the artifact: other kernels stand in, and this is said.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from edgebuild import readback
from edgebuild.actions.runtimes import RUNS, TFLM_RUNS, RunsJob
from edgebuild.core.plan import Plan
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.engine import devices
from edgebuild.engine.fallback import FAILURES
from edgebuild.engine.material import Built
from edgebuild.errors import StepError
from edgebuild.execution.session import Session
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
