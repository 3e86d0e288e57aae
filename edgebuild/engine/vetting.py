"""What is done for the accuracy of int8, held against the plain conversion on samples whose answers are known.

Refinements bring the artifact nearer to the float network on the calibration samples. That is not always nearer on
others, and nearer is not always what answers best. Where there are samples to learn from, they decide; never those that
the artifact is scored on.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import readback
from edgebuild.core.losses import OutputLoss
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.plan import Plan
from edgebuild.core.target import Kernels
from edgebuild.engine import asking
from edgebuild.engine.fallback import FAILURES
from edgebuild.engine.material import Built, Data, Part
from edgebuild.execution.session import Session
from edgebuild.report import wording
from edgebuild.stats import sign_test

_FEWEST, _MOST = 100, 2_000  # samples; fewer decide nothing
_LAYERS_ON = 256  # samples, where layers are compared
_MOST_MACS = 2 * 10**10  # over all samples: two minutes on reference kernels
_CHANCE = 0.05  # that one of two has so many more right answers without being the better one


class _Named(NamedTuple):
    """An artifact, and what it is called in the titles of steps."""

    name: str
    built: Built


class _Inside(NamedTuple):
    """The SQNR of a tensor inside an artifact, in decibels, and over how many samples."""

    db: float
    samples: int


class _Distance(NamedTuple):
    """How far the two artifacts are from the float network: the SQNR of both, of what, and on how many samples."""

    plain_db: float
    refined_db: float
    of: str
    samples: int


def alternative(plan: Plan, data: Data | None) -> Plan | None:
    """The plan without its refinements; None where there are none, or no samples that tell which is better.

    None either of a network that is trained for int8, which would be trained once more.
    """
    if data is None or not plan.refinements or plan.is_aware or plan.metric.is_callable:
        return None
    if not data.splits.learning_has_answers or data.splits.learning_samples < _FEWEST:
        return None
    return replace(plan, passes=tuple(step for step in plan.passes if not step.refines))


def vet(refined: Built, plain: Built, data: Data, session: Session) -> str | None:
    """Why the refinements are to be taken back; None where they are not.

    Right answers come first: those that only one of the two artifacts has, held against each other by the exact test of
    McNemar (1947), one-sided. Where they cannot tell the two apart, the better one is that whose logits are nearer to
    the float network's (its outputs, where they are no probabilities).

    Args:
        refined: the artifact as it was planned.
        plain: that of its `alternative`.
        data: whose learning split is answered.
        session: where actions are done or found.

    Raises:
        EdgebuildError: the samples could not be answered, or their answers fit nothing.
    """
    if plain.ref.identity == refined.ref.identity:
        return None
    ours, usual = _Named("the refined conversion", refined), _Named("the plain conversion", plain)
    why = _why(usual, ours, data, session)
    names = " and ".join(wording.kind(step) for step in refined.plan.refinements)
    return None if why is None else f"{names} taken back: {why}"


def _why(usual: _Named, ours: _Named, data: Data, session: Session) -> str | None:
    part = data.learning.limited(_affordable(usual.built.spec))
    between = _between(usual, ours, part, session)
    lost, gained = _only_one_is_right(between, ours.built.plan.metric)
    chance = sign_test(lost, gained)
    if chance < _CHANCE:
        return f"of {between.samples:,} train samples {_both(lost, gained, between)} (p = {chance:.2g})"
    if sign_test(gained, lost) < _CHANCE:
        return None
    found = _distance(usual, ours, part, session)
    if found is None or found.plain_db <= found.refined_db:
        return None
    nearer = f"the {found.of} are nearer to the float network's without them"
    both = f"SQNR {found.plain_db:.1f} dB, with them {found.refined_db:.1f} dB"
    return f"on {found.samples:,} train samples {nearer} ({both})"


def _both(lost: int, gained: int, between: OutputLoss) -> str:
    answers = between.answers
    if answers is not None and answers.total == between.samples:
        return f"{lost:,} are answered right by the plain conversion alone and {gained:,} with them alone"
    return f"{lost:,} are nearer to their labels with the plain conversion and {gained:,} with them"


def _only_one_is_right(between: OutputLoss, metric: Metric) -> tuple[int, int]:
    """For how many samples the plain conversion is nearer to the labels, and for how many the refined one.

    Nearer by the metric of the build: more of a sample's predictions are right (of one that is right or wrong: only one
    conversion has it right), or its error is smaller. Samples are counted, not the places of one: these are not
    independent, and the test would take them to be.
    """
    if metric.is_open:
        return 0, 0
    return between.worse, between.better


def _affordable(artifact: ArtifactSpec) -> int:
    """How many samples are answered at most: fewer of large networks."""
    return max(_FEWEST, min(_MOST, _MOST_MACS // max(1, artifact.macs)))


def _distance(usual: _Named, ours: _Named, part: Part, session: Session) -> _Distance | None:
    """What can be compared with the float network; None where that is nothing."""
    exact = _float_network(usual.built)
    if exact is None:
        return None
    if _rounds_its_answers(usual.built.spec):
        return _logits_inside(usual, ours, part.limited(_LAYERS_ON), session)
    plain, refined = (_between(exact, each, part, session) for each in (usual, ours))
    if plain.logits is not None and refined.logits is not None:
        return _Distance(plain.logits.sqnr_db, refined.logits.sqnr_db, "logits", plain.samples)
    return _Distance(plain.signal.sqnr_db, refined.signal.sqnr_db, "outputs", plain.samples)


def _between(one: _Named, other: _Named, part: Part, session: Session) -> OutputLoss:
    """What the outputs of an artifact lose of another one's."""
    first, second = (session.run(asking.score(each.built, part, what=each.name)).ref() for each in (one, other))
    title = f"hold {other.name} against {one.name}"
    return session.run(asking.output_loss(other.built.plan, first, second, part, title)).result


def _float_network(plain: Built) -> _Named | None:
    """The float network as an artifact, which XNNPACK runs fastest; None where there is none."""
    if plain.reference is None:
        return None
    plan = plain.plan
    runtime = replace(plan.runtime, kernels=Kernels.XNNPACK)
    built = plain._replace(ref=plain.reference.ref, spec=plain.reference.spec, plan=replace(plan, runtime=runtime))
    return _Named("the float network", built)


def _rounds_its_answers(artifact: ArtifactSpec) -> bool:
    """Whether it ends in a function that writes steps which hide what is lost."""
    computing = [operator for operator in artifact.operators if operator.name not in readback.CONVERSIONS]
    last = computing[-1] if computing else None
    return last is not None and last.name in readback.ANSWERS and "float32" not in last.dtypes


def _logits_inside(usual: _Named, ours: _Named, part: Part, session: Session) -> _Distance | None:
    """What the last function reads; None where that cannot be had."""
    plain, refined = (_before_the_answers(each, part, session) for each in (usual, ours))
    if plain is None or refined is None:
        return None
    return _Distance(plain.db, refined.db, "logits", min(plain.samples, refined.samples))


def _before_the_answers(one: _Named, part: Part, session: Session) -> _Inside | None:
    built = one.built
    if built.reference is None or len(built.spec.outputs) != 1:
        return None
    try:
        compared = session.run(asking.layer_loss(built, built.reference, part, f"the layers of {one.name}")).result
    except FAILURES:
        return None  # a file may run as it is and yet not with all its tensors kept
    last = max(compared.layers, key=lambda layer: layer.position, default=None)
    if last is None or last.operator not in readback.ANSWERS or last.input_sqnr_db is None:
        return None
    return _Inside(last.input_sqnr_db, compared.samples)
