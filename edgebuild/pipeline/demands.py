"""What is to be found out of an artifact at a place, and the actions that find it out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild.actions.fidelity import OUTPUTS, OUTPUTS_AT, PARITY, Outputs, OutputsAtJob, OutputsJob, ParityJob
from edgebuild.actions.measuring import MEASURE, Measured, MeasureJob
from edgebuild.actions.scores import SCORE_AT, At, Score, ScoreAtJob
from edgebuild.core.action import Action, Ref
from edgebuild.core.budget import Budget, Subject
from edgebuild.core.device import Parity
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.execution.session import Session
from edgebuild.pipeline import asking
from edgebuild.pipeline.artifacts import Built, Data
from edgebuild.runtimes.arm64 import emulator


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


def measure(item: Runnable, place: Place, demand: Demand, session: Session, *, of: str) -> Action[Measured]:
    """Measure an artifact at a place, in turn with a baseline where there is one; `of` goes before the title."""
    bench, _, baseline = demand
    what = "count the instructions of" if place.emulates else "time"
    beside = f", in turn with {baseline.name} of the baseline" if baseline is not None else ""
    job = MeasureJob(
        artifact=str(session.give_file(item.path)),
        baseline=str(session.give_file(baseline)) if baseline is not None else "",
        place=place,
        kernels=item.kernels,
        bench=_deciding(bench),
        decide_at=demand.decide_at(place),
        emulator=_emulator(place),
    )
    return MEASURE.action(job, of=of, title=f"{what} inferences on {_name(place)}{beside}")


def score(built: Built, data: Data, place: Place) -> Action[Score]:
    """Score an artifact as it runs at a place."""
    job = ScoreAtJob(at=_at(place), score=asking.score_job(built, data.evaluation))
    title = f"score {data.splits.evaluation_samples:,} samples on {_name(place)}"
    return SCORE_AT.action(job, of=built.plan.target, title=title)


def outputs_at(built: Built, data: Data, place: Place) -> Action[Outputs]:
    """Run evaluation samples at a place."""
    job = OutputsAtJob(at=_at(place), outputs=_outputs_job(built, data, built.plan.runtime.kernels))
    return OUTPUTS_AT.action(job, of=built.plan.target)


def outputs(built: Built, data: Data, family: Kernels) -> Action[Outputs]:
    """Run evaluation samples on one kernel family of this machine."""
    return OUTPUTS.action(_outputs_job(built, data, family), of=built.plan.target)


def parity(built: Built, names: tuple[str, str], folders: tuple[Ref, Ref], title: str) -> Action[Parity]:
    """Compare what two runs of the same samples kept; `names` are of the kernels or the places that ran them."""
    plan = built.plan
    job = ParityJob(
        spec=built.spec,
        kernels=names,
        outputs=(str(folders[0]), str(folders[1])),
        scored_output=plan.metric.output,
        metric=plan.metric,
    )
    return PARITY.action(job, of=plan.target, title=title)


def _outputs_job(built: Built, data: Data, family: Kernels) -> OutputsJob:
    return OutputsJob(
        artifact=str(built.ref),
        spec=built.spec,
        kernels=family,
        samples=str(data.evaluation.ref),
        preprocess=built.plan.preprocess,
    )


def _name(place: Place) -> str:
    return "this machine" if place.label == PlaceKind.HOST else place.label


def _at(place: Place) -> At:
    return At(place=place, emulator=_emulator(place))


def _emulator(place: Place) -> str:
    """What tells the emulation of one day from that of another."""
    return emulator.state() if place.emulates else ""


def _deciding(bench: BenchSettings) -> BenchSettings:
    """Without what decides nothing: where else it is measured, and against what is known by name."""
    return replace(bench, on=(), baseline="", baseline_required=False)
