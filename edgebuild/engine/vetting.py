"""What is done for the accuracy of int8, held against the plain conversion on samples whose answers are known.

Refinements bring the artifact nearer to the float network on the calibration samples. That is not always nearer on
others, and nearer is not always what answers best. Where there are samples to learn from, they decide; never those that
the artifact is scored on.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import hashing
from edgebuild.core.losses import Answers, ConfidenceOf, OutputLoss, Signal
from edgebuild.core.passes import Refinement
from edgebuild.core.plan import Plan
from edgebuild.core.target import Kernels
from edgebuild.engine import losses, steps
from edgebuild.engine.losses import Kept
from edgebuild.engine.session import Session
from edgebuild.engine.steps import Built, Data, Reference
from edgebuild.report import wording
from edgebuild.stats import sign_test

_FEWEST, _MOST = 100, 2_000  # samples; fewer decide nothing
_CHANCE = 0.05  # that one of two has so many more right answers without being the better one
_PLAIN, _REFINED, _FLOAT = "the plain conversion", "the refined conversion", "the float network"


class _Held(NamedTuple):
    """What was found on the samples.

    Attributes:
        samples: how many were answered.
        answers: what the refined artifact loses and gains of the plain one's; None where they are not counted.
        signals: of the plain artifact and of the refined one, each held against the float network; None where that
            could not be had.
        of: what the signals are.
    """

    samples: int
    answers: Answers | None
    signals: tuple[Signal, Signal] | None
    of: str


def alternative(plan: Plan, data: Data | None) -> Plan | None:
    """The plan without its refinements; None where there are none, or no samples that tell which is better."""
    if data is None or not plan.refinements or plan.metric.is_callable:
        return None
    if not data.splits.learning_has_answers or data.splits.learning_samples < _FEWEST:
        return None
    return replace(plan, passes=tuple(step for step in plan.passes if not isinstance(step, Refinement)))


def vet(refined: Built, plain: Built, reference: Reference | None, data: Data, session: Session) -> str | None:
    """Why the refinements are to be taken back; None where they are not.

    Right answers come first: those that only one of the two artifacts has, held against each other by the exact test of
    McNemar (1947), one-sided. Where they cannot tell the two apart, the better one is that whose logits are nearer to
    the float network's (its outputs, where they are no probabilities).

    Args:
        refined: the artifact as it was planned.
        plain: that of its `alternative`.
        reference: the float network of the plain one; None where there is none.
        data: whose learning split is answered.
        session: where steps are done or found.

    Raises:
        EdgebuildError: the samples could not be answered, or their answers fit nothing.
    """
    if hashing.of_file(plain.path) == hashing.of_file(refined.path):
        return None
    held = _held(refined, plain, reference, data, session)
    why = _why(held)
    names = " and ".join(wording.kind(step) for step in refined.plan.refinements)
    return None if why is None else f"{names} taken back: {why}"


def _why(held: _Held) -> str | None:
    answers = held.answers
    if answers is not None:
        chance = sign_test(answers.lost, answers.gained)
        if chance < _CHANCE:
            return (
                f"of {held.samples:,} train samples {answers.lost:,} are answered right by the plain conversion alone"
                f" and {answers.gained:,} with them alone (p = {chance:.2g})"
            )
        if sign_test(answers.gained, answers.lost) < _CHANCE:
            return None
    if held.signals is None:
        return None
    plain, refined = (signal.sqnr_db for signal in held.signals)
    if plain <= refined:
        return None
    on = f"on {held.samples:,} train samples the {held.of} are nearer to the float network's without them"
    return f"{on} (SQNR {plain:.1f} dB, with them {refined:.1f} dB)"


def _held(refined: Built, plain: Built, reference: Reference | None, data: Data, session: Session) -> _Held:
    part = data.learning(_MOST)
    wanted = {_PLAIN: plain, _REFINED: refined}
    pairs = [(_PLAIN, _REFINED)]
    if reference is not None:
        wanted[_FLOAT] = _as_built(reference, plain)
        pairs += [(_FLOAT, _PLAIN), (_FLOAT, _REFINED)]
    scored = session.run([steps.score(built, part, what=name) for name, built in wanted.items()])
    paths = {name: made.path for name, made in zip(wanted, scored, strict=True)}
    holding = [
        losses.output_loss(refined.plan, Kept(paths[one], paths[other]), part, f"hold {other} against {one}")
        for one, other in pairs
    ]
    between, *lost = (made.read(OutputLoss) for made in session.run(holding))
    signals, of = _signals(lost)
    # Answers for the places of one sample are not independent, and the test would take them to be.
    counted = between.answers is not None and between.answers.total == between.samples
    return _Held(between.samples, between.answers if counted else None, signals, of)


def _as_built(reference: Reference, plain: Built) -> Built:
    """The float network as an artifact, which XNNPACK runs fastest."""
    plan = plain.plan
    runtime = replace(plan.runtime, kernels=Kernels.XNNPACK)
    return plain._replace(path=reference.path, spec=reference.spec, plan=replace(plan, runtime=runtime))


def _signals(lost: list[OutputLoss]) -> tuple[tuple[Signal, Signal] | None, str]:
    """What of the outputs can be compared, and what that is."""
    if not lost:
        return None, ""
    plain, refined = lost
    if plain.logits is not None and refined.logits is not None:
        return (plain.logits, refined.logits), "logits"
    if any(loss.confidence is not None and loss.confidence.of == ConfidenceOf.OUTPUTS for loss in lost):
        # A softmax in int8 rounds to steps that hide the difference.
        return None, ""
    return (plain.signal, refined.signal), "outputs"
