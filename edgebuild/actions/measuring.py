"""Measuring: what an inference costs at a place, and where on this machine its time goes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgebuild.actions.scores import on_device
from edgebuild.actions.tools import LITERT_PACKAGES, MEASUREMENT, TFLM_PACKAGES, TIMED
from edgebuild.core.action import HOST_TIMER, File, Kind, MemoryLimit, Takes, TimeLimit
from edgebuild.core.benched import OperatorTimes
from edgebuild.core.budget import Subject
from edgebuild.core.comparison import Interval
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.settings import AtLeastOne, BenchSettings
from edgebuild.core.target import Kernels


class MeasureJob(msgspec.Struct, frozen=True, kw_only=True):
    """Measure an artifact at a place, with a baseline in turn where there is one.

    Attributes:
        artifact: the .tflite file.
        baseline: that of the baseline; empty for none.
        kernels: where the place does not insist on others.
        decide_at: limits that the median is to be told from as far as there is time; with a baseline, limits on the
            ratio of medians.
        emulator: what the place emulates with; empty where it does not.
        time_s: what one request to a worker may take.
        memory_bytes: what the process of a worker may take, where the place can hold it to that.
    """

    artifact: File
    baseline: File = ""
    place: Place
    kernels: Kernels
    bench: BenchSettings
    decide_at: tuple[float, ...] = ()
    emulator: str = ""
    time_s: TimeLimit = 0.0
    memory_bytes: MemoryLimit = 0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one artifact; costs in the place's unit, seconds or instructions.

    Attributes:
        subject: what the samples are: latency or instructions.
        machine, kernels, versions: as `places.protocol.Loaded` has them.
        blocks: raw samples by block, in order.
        processes: how many blocks each fresh process ran, in order.
        statistics: "median", "p90", "p99", "min" and "max" of the samples.
        intervals: 95 % intervals of "median", "p90" and "p99".
        load: of each process.
        first: the first inference of each process.
        peak_memory_bytes: of each process.
        energy_j: of one inference; None where the device is silent.
        conditions: what disturbed the measurement, for people.
    """

    subject: Subject
    machine: str
    kernels: str
    versions: dict[str, str]
    blocks: tuple[tuple[float, ...], ...]
    processes: tuple[int, ...]
    statistics: dict[str, float]
    intervals: dict[str, Interval]
    load: tuple[float, ...] = ()
    first: tuple[float, ...] = ()
    peak_memory_bytes: tuple[int, ...] = ()
    energy_j: float | None = None
    conditions: tuple[str, ...] = ()


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact's cost over its baseline's, with the 95 % interval and the name of the test that it comes from."""

    ratio: float
    interval: Interval
    test: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of an artifact, and where there is a baseline of that and the ratios, by statistic ("median"...).

    `lacking` is why a baseline that was asked for was not measured; empty where it was.
    """

    artifact: Timing
    baseline: Timing | None = None
    ratios: dict[str, Ratio] = {}
    lacking: str = ""


def _takes(job: MeasureJob) -> Takes:
    takes = on_device(job.place, job.bench.time)
    return takes._replace(alone=(HOST_TIMER,)) if job.place.kind in (PlaceKind.HOST, PlaceKind.TFLM) else takes


def _title(job: MeasureJob) -> str:
    what = "count the instructions of" if job.place.emulates else "time"
    on = "this machine" if job.place.label == PlaceKind.HOST else job.place.label
    return f"{what} inferences on {on}{', in turn with the baseline' if job.baseline else ''}"


MEASURE = Kind(
    name="measure",
    settings=MeasureJob,
    result=Measured,
    run="edgebuild.runtimes.measuring.worker:measure",
    tool=MEASUREMENT,
    title=_title,
    packages=(*LITERT_PACKAGES, *TFLM_PACKAGES),
    of_host=True,
    takes=_takes,
)


class OperatorTimesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Time the operators of an artifact on this machine.

    Attributes:
        artifact: the .tflite file.
        time_s: what timing may take in all; a few rounds are done in any case.
        most_operators: where prefixes are timed, the cheapest of more operators go together with their neighbours.
        profiler: whether LiteRT's own profiler may be asked; it can end the process.
    """

    artifact: File
    kernels: Kernels
    threads: AtLeastOne = 1
    time_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    most_operators: AtLeastOne = 64
    profiler: bool = True


OPERATOR_TIMES = Kind(
    name="operator-times",
    settings=OperatorTimesJob,
    result=OperatorTimes,
    run="edgebuild.runtimes.operator_times:operator_times",
    tool=TIMED,
    title=lambda _: "time operators on this machine",
    packages=LITERT_PACKAGES,
    of_host=True,
    takes=lambda job: Takes(extra_s=job.time_s, alone=(HOST_TIMER,)),
)
