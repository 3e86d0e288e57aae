"""What is done for the accuracy of int8, held against the plain conversion on samples whose answers are known.

Refinements bring the artifact nearer to the float network, and that is not always what answers best. Where there are
samples with answers to learn from, they decide; never those that the artifact is scored on.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from edgebuild import hashing, host
from edgebuild.core.losses import OUTPUTS, Answers, OutputLoss
from edgebuild.core.passes import Refinement
from edgebuild.core.plan import Plan
from edgebuild.core.settings import MetricKind
from edgebuild.engine import steps
from edgebuild.engine.session import Made, Session, Step
from edgebuild.engine.steps import Built, Data
from edgebuild.passes import jobs
from edgebuild.report import wording
from edgebuild.runtimes.jobs import OutputLossJob, ScoreJob
from edgebuild.stats import sign_test

_FEWEST, _MOST = 100, 2_000  # samples; fewer decide nothing
_CHANCE = 0.05  # that the plain conversion is as much better without being it
_METRICS = frozenset({MetricKind.ACCURACY, MetricKind.TOP_K})  # that count right answers


def alternative(plan: Plan, data: Data | None) -> Plan | None:
    """The plan without its refinements; None where there are none, or no samples that tell which is better."""
    if data is None or not plan.refinements or plan.metric.name not in _METRICS:
        return None
    if not data.splits.learning_has_answers or data.splits.learning_samples < _FEWEST:
        return None
    return replace(plan, passes=tuple(step for step in plan.passes if not isinstance(step, Refinement)))


def vet(refined: Built, plain: Built, data: Data, session: Session) -> str | None:
    """Why the refinements are to be taken back, where the plain conversion answers better; None where it does not.

    That is told by the samples that only one of the two has right (McNemar 1947), by the exact test, one-sided.

    Args:
        refined: the artifact as it was planned.
        plain: that of its `alternative`.
        data: whose learning split is answered.
        session: where steps are done or found.

    Raises:
        EdgebuildError: the samples could not be answered, or their answers fit nothing.
    """
    if hashing.of_file(plain.path) == hashing.of_file(refined.path):
        return None
    answers = _compared(plain, refined, data, session)
    if answers is None or sign_test(answers.lost, answers.gained) >= _CHANCE:
        return None
    return _why(refined.plan, answers)


def _why(plan: Plan, answers: Answers) -> str:
    names = " and ".join(wording.kind(step) for step in plan.refinements)
    return (
        f"{names} taken back: of {answers.total:,} train samples {answers.lost:,} are answered right by the plain"
        f" conversion alone and {answers.gained:,} with them alone (p = {sign_test(answers.lost, answers.gained):.2g})"
    )


def _compared(plain: Built, refined: Built, data: Data, session: Session) -> Answers | None:
    """What the refined artifact loses and gains of the plain one's answers; None where samples have not one each.

    Answers for the places of one sample are not independent, and the test would take them to be.
    """
    before, after = session.run([_score(plain, data), _score(refined, data)])
    (held,) = session.run([_held_together(refined.plan, data, before, after)])
    found = held.read(OutputLoss)
    return found.answers if found.answers is not None and found.answers.total == found.samples else None


def _score(built: Built, data: Data) -> Step:
    plan = built.plan
    known = [hashing.of_file(built.path), plan.runtime.kernels, *_scoring(plan, data), host.identity()]

    def job(out: Path) -> ScoreJob:
        return replace(steps.score_job(built, data, out), samples=str(data.path / jobs.LEARNING), most=_MOST)

    kind = "refined" if plan.refinements else "plain"
    return Step("score", f"{plan.target}: score the {kind} conversion on train samples", known, job)


def _held_together(plan: Plan, data: Data, before: Made, after: Made) -> Step:
    files = [hashing.of_file(made.path / OUTPUTS) for made in (before, after)]
    return Step(
        "output-loss",
        f"{plan.target}: hold the refined conversion's answers against the plain one's",
        [files, *_scoring(plan, data)],
        lambda _: OutputLossJob(
            baseline=str(before.path),
            artifact=str(after.path),
            samples=str(data.path / jobs.LEARNING),
            most=_MOST,
            preprocess=plan.preprocess,
            metric=plan.metric,
        ),
    )


def _scoring(plan: Plan, data: Data) -> list[object]:
    return [data.splits.learning_sha256, plan.preprocess, plan.metric, _MOST]
