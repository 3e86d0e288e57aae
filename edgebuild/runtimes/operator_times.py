"""Where a network spends its time: as LiteRT's profiler tells it, or else derived from the times of its prefixes."""

from __future__ import annotations

import msgspec

from edgebuild.actions.measuring import OperatorTimesJob
from edgebuild.child import Say
from edgebuild.core.benched import OperatorTimes
from edgebuild.errors import UnavailableError
from edgebuild.runtimes.operator_profile import profile
from edgebuild.runtimes.prefix_times import prefix_times


def operator_times(job: OperatorTimesJob, say: Say) -> OperatorTimes:
    """Time every operator of an artifact's first graph on this machine; random inputs, the same each time.

    Raises:
        StepError: the artifact is damaged, has no operators, cannot be cut, or is refused by the interpreter.
    """
    if not job.profiler:
        return prefix_times(job, say)
    try:
        return profile(job, say)
    except UnavailableError as error:
        times = prefix_times(job, say)
        reason = ": ".join(part for part in (error.what, error.why) if part)
        return msgspec.structs.replace(times, notes=(*times.notes, reason))
