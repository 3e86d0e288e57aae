"""Where artifacts spend their time on this machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgebuild import hashing, host
from edgebuild.core.operator_times import OperatorTimes
from edgebuild.core.settings import BenchSettings
from edgebuild.engine.place_steps import OPERATORS, Runnable
from edgebuild.engine.session import Session, Step
from edgebuild.process import ChildDiedError
from edgebuild.runtimes.operator_jobs import OperatorTimesJob


def operator_times(item: Runnable, bench: BenchSettings, session: Session) -> OperatorTimes:
    """See where the time of an inference goes on this machine.

    LiteRT's profiler is asked first. It is reached in ways that LiteRT does not promise: where its process ends, the
    times are derived without it.

    Raises:
        StepError: the interpreter refused the artifact, or its process ended or broke its limits.
    """
    job = OperatorTimesJob(artifact=str(item.path), kernels=item.kernels, threads=bench.threads, time_s=bench.time)
    try:
        return _timed(job, session)
    except ChildDiedError as error:
        times = _timed(msgspec.structs.replace(job, profiler=False), session)
        return msgspec.structs.replace(times, notes=(*times.notes, f"with LiteRT's profiler {error.what}"))


def _timed(job: OperatorTimesJob, session: Session) -> OperatorTimes:
    path = Path(job.artifact)
    depends_on = [hashing.of_file(path), msgspec.structs.replace(job, artifact=""), host.identity()]
    step = Step(
        "operator-times",
        f"time the operators of {path.name} on this machine",
        depends_on,
        lambda _: job,
        again=True,
        extra_s=job.time_s,
    )
    (made,) = session.run([step], OPERATORS)
    return made.read(OperatorTimes)
