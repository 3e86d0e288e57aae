"""The steps that run an artifact at a place: for each, what decides its result, and the job."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgebuild import hashing, host
from edgebuild.core.budget import Budget, Subject
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.engine import device_steps, steps
from edgebuild.engine.material import Built, Data
from edgebuild.engine.session import Step, Worker
from edgebuild.process import Limits
from edgebuild.runtimes.arm64 import emulator
from edgebuild.runtimes.jobs import At, MeasureJob, OutputsAtJob, ScoreAtJob
from edgebuild.runtimes.places.queueing import QUEUE_S

# Processes are started beside the time that is measured, and a remote one is given up on its own first.
_STARTS_S = 60.0

MEASURING = Worker("edgebuild.runtimes.measuring.worker", "the measurement")
OPERATORS = Worker("edgebuild.runtimes.operator_times", "the interpreter")
SCORING = Worker("edgebuild.runtimes.places.scoring", "the interpreter")


class Runnable(NamedTuple):
    """An artifact that may be run: where it lies, and the kernels that compute like its target's."""

    path: Path
    kernels: Kernels


class Demand(NamedTuple):
    """What is to be found out of an artifact.

    Attributes:
        bench: how.
        budgets: limits that its cost is held against later, so that it is measured until they can be told from it.
        baseline: an artifact to measure in turn with it; None for none.
    """

    bench: BenchSettings
    budgets: tuple[Budget, ...] = ()
    baseline: Path | None = None

    def decide_at(self, place: Place) -> tuple[float, ...]:
        """The limits on the median at a place: on the ratio where there is a baseline, else on the cost itself."""
        subject = Subject.INSTRUCTIONS if place.emulates else Subject.LATENCY
        compares = self.baseline is not None
        limits = (
            1 + budget.limit if compares else budget.limit
            for budget in self.budgets
            if (budget.subject, budget.on, budget.of_baseline) == (subject, place.label, compares)
            and budget.at == "median"
        )
        return tuple(dict.fromkeys(limits))


def measure(item: Runnable, place: Place, demand: Demand, limits: Limits, *, again: bool, of: str) -> Step:
    """Measure an artifact at a place, in turn with a baseline where there is one; `of` goes before the title."""
    bench, _, baseline = demand
    what = "count the instructions of" if place.emulates else "time"
    beside = f", in turn with {baseline.name} of the baseline" if baseline is not None else ""
    return Step(
        "measure",
        f"{of}{what} inferences on {_name(place)}{beside}",
        [
            hashing.of_file(item.path),
            hashing.of_file(baseline) if baseline is not None else "",
            place,
            item.kernels,
            _deciding(bench),
            demand.decide_at(place),
            _identity(place),
        ],
        lambda _: MeasureJob(
            artifact=str(item.path),
            baseline=str(baseline or ""),
            place=place,
            kernels=item.kernels,
            bench=bench,
            decide_at=demand.decide_at(place),
            time_s=limits.time_s,
            memory_bytes=limits.memory_bytes,
        ),
        again=again,
        extra_s=bench.time + _waiting_s(place),
    )


def score(built: Built, data: Data, place: Place, limits: Limits, *, again: bool) -> Step:
    """Score an artifact as it runs at a place; a metric's function is called each time."""
    plan = built.plan
    what = [data.splits.evaluation_sha256, plan.preprocess, plan.metric]
    return Step(
        "score-at",
        f"{plan.target}: score {data.splits.evaluation_samples:,} samples on {_name(place)}",
        None
        if plan.metric.is_callable
        else [hashing.of_file(built.path), place, plan.runtime.kernels, what, _identity(place)],
        lambda out: ScoreAtJob(at=_at(place, limits), score=steps.score_job(built, data.evaluation, out)),
        again=again,
        extra_s=_waiting_s(place),
    )


def outputs(built: Built, data: Data, place: Place, limits: Limits, *, again: bool) -> Step:
    """Run evaluation samples at a place."""
    plan = built.plan
    what = [data.splits.evaluation_sha256, plan.preprocess, plan.runtime.kernels]
    return Step(
        "outputs-at",
        f"{plan.target}: run samples on {_name(place)}",
        [hashing.of_file(built.path), place, what, _identity(place)],
        lambda out: OutputsAtJob(
            at=_at(place, limits), outputs=device_steps.outputs_job(built, data, plan.runtime.kernels, out)
        ),
        again=again,
        extra_s=_waiting_s(place),
    )


def _waiting_s(place: Place) -> float:
    """What a measurement may take beside itself; a device may be busy with another's first."""
    return _STARTS_S + (QUEUE_S if place.kind in (PlaceKind.SSH, PlaceKind.ADB) else 0.0)


def _name(place: Place) -> str:
    return "this machine" if place.label == PlaceKind.HOST else place.label


def _identity(place: Place) -> list[str]:
    """What tells a place of this label from others: this machine, and what it emulates with."""
    return [host.identity(), emulator.state() if place.emulates else ""]


def _at(place: Place, limits: Limits) -> At:
    return At(place=place, time_s=limits.time_s, memory_bytes=limits.memory_bytes)


def _deciding(bench: BenchSettings) -> list[object]:
    """What a measurement depends on; where else it is taken, and against what is known by name, do not matter."""
    return [bench.time, bench.precision, bench.runs, bench.workers, bench.threads, bench.pin]
