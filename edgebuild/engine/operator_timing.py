"""Where artifacts spend their time on this machine."""

from __future__ import annotations

import msgspec

from edgebuild.actions.measuring import OPERATOR_TIMES, OperatorTimesJob
from edgebuild.core.benched import OperatorTimes
from edgebuild.core.settings import BenchSettings
from edgebuild.engine.demands import Runnable
from edgebuild.execution.session import Session
from edgebuild.process import ChildDiedError


def operator_times(item: Runnable, bench: BenchSettings, session: Session) -> OperatorTimes:
    """See where the time of an inference goes on this machine.

    LiteRT's profiler is asked first. It is reached in ways that LiteRT does not promise: where its process ends, the
    times are derived without it.

    Raises:
        StepError: the interpreter refused the artifact, or its process ended or broke its limits.
    """
    job = OperatorTimesJob(
        artifact=str(session.give_file(item.path)), kernels=item.kernels, threads=bench.threads, time_s=bench.time
    )
    try:
        return _timed(job, item.path.name, session)
    except ChildDiedError as error:
        times = _timed(msgspec.structs.replace(job, profiler=False), item.path.name, session)
        return msgspec.structs.replace(times, notes=(*times.notes, f"with LiteRT's profiler {error.what}"))


def _timed(job: OperatorTimesJob, name: str, session: Session) -> OperatorTimes:
    action = OPERATOR_TIMES.action(job, title=f"time the operators of {name} on this machine")
    return session.run(action, again=True).result
