"""A table of jobs for the tests of operator times: a child whose process ends where the profiler is asked."""

from __future__ import annotations

import os

from edgebuild.actions.measuring import OperatorTimesJob
from edgebuild.child import Job, Say
from edgebuild.core.benched import OperatorTimes
from edgebuild.core.measurement import Mode


def _times(job: OperatorTimesJob, _: Say) -> OperatorTimes:
    if job.profiler:
        os.abort()
    return OperatorTimes(
        mode=Mode.ESTIMATED,
        source="prefixes",
        kernels=job.kernels,
        threads=job.threads,
        whole_s=1e-3,
        beside_s=0.0,
        operators=(),
        runs=9,
        notes=("first",),
    )


JOBS = {"operator-times": Job(OperatorTimesJob, _times)}
