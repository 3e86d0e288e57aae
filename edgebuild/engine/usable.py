"""Whether a target can use an artifact: it is what the plan promised, and the target's runtime loads and runs it."""

from __future__ import annotations

import re

from edgebuild import readback
from edgebuild.engine import device_steps, devices
from edgebuild.engine.material import Built
from edgebuild.engine.session import LITERT, Session
from edgebuild.errors import StepError
from edgebuild.runtimes.tflm import wheel

# "Node number 3 (ELU) failed to prepare" of LiteRT, "Node ELU (number 3f) failed to prepare" of TFLM.
_NODE = re.compile(r"Node (?:number (\d+) \((\w+)\)|(\w+) \(number (\d+)f?\)) failed")


def require_usable(built: Built, session: Session) -> None:
    """Check an artifact against its plan, and run it once on the kernels that compute like its target's.

    Raises:
        StepError: it does not fit, or does not run; names operators and layers as far as the runtime does.
    """
    readback.require_fit(built.spec, built.network, built.plan)
    devices.require_kernels(built, session)
    on_tflm = devices.runs_on_tflm(built) and built.plan.accelerator is None
    step = device_steps.runs(built, (wheel.version() or "") if on_tflm else "")
    try:
        session.run([step], device_steps.TFLM if on_tflm else LITERT)
    except StepError as error:
        raise _named(error, built) from None


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
