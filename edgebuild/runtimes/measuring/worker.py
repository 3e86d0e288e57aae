"""The child that measures an artifact at a place; it starts the processes that run it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgebuild.actions.measuring import Measured, MeasureJob, Ratio
from edgebuild.child import Say
from edgebuild.core.budget import Subject
from edgebuild.process import Limits
from edgebuild.runtimes.measuring.rounds import Aim, BaselineError, Loop, of_inferences, samples_of, timing
from edgebuild.runtimes.places.protocol import How, Place
from edgebuild.runtimes.places.table import open_place
from edgebuild.timing import comparing

_COUNTED = "counted instructions, blocks in turn"


def measure(job: MeasureJob, say: Say) -> Measured:
    """Measure an artifact, in turn with a baseline where there is one.

    Where the interpreter refuses the baseline, or that ends its process, there is no comparison; the artifact is
    measured all the same.

    Raises:
        UnavailableError: the place is not there, or lacks a tool.
        StepError: the artifact was refused, or crashed, hung or broke its limits.
    """
    limits = Limits(time_s=job.time_s, memory_bytes=job.memory_bytes)
    with tempfile.TemporaryDirectory(prefix="edgebuild-") as logs:
        place = open_place(job.place, limits, Path(logs), say)
        try:
            return _measured(place, job, say)
        finally:
            place.close()


def _measured(place: Place, job: MeasureJob, say: Say) -> Measured:
    if not job.baseline:
        return _alone(place, job, say)
    try:
        return _in_turn(place, job, say)
    except BaselineError as failed:
        return _alone(place, job, say, f"it could not be measured: {failed.error.what}")


def _alone(place: Place, job: MeasureJob, say: Say, lacking: str = "") -> Measured:
    loop = Loop(place, [Path(job.artifact)], _how(job), _aim(job), say)
    (rans,) = loop.run()
    return Measured(artifact=timing(rans, place.subject, loop.shortcomings()), lacking=lacking)


def _in_turn(place: Place, job: MeasureJob, say: Say) -> Measured:
    loop = Loop(place, [Path(job.artifact), Path(job.baseline)], _how(job), _aim(job), say)
    ours, theirs = loop.run()
    found = comparing.ratios(samples_of(ours), samples_of(theirs))
    is_counted = place.subject == Subject.INSTRUCTIONS
    return Measured(
        artifact=timing(ours, place.subject, loop.shortcomings()),
        baseline=timing(theirs, place.subject, ()),
        ratios={
            name: Ratio(ratio=one.ratio, interval=one.interval, test=_COUNTED if is_counted else one.test)
            for name, one in of_inferences(found, ours[-1].loaded).items()
        },
    )


def _how(job: MeasureJob) -> How:
    return How(kernels=job.kernels, threads=job.bench.threads, pin=job.bench.pin)


def _aim(job: MeasureJob) -> Aim:
    return Aim(job.bench, job.decide_at)
