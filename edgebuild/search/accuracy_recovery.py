"""The repair ladder: plans for a network whose int8 misses its accuracy budget, the cheapest change first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild.core.budget import SCORES
from edgebuild.core.losses import worst
from edgebuild.core.manifest import Manifest
from edgebuild.core.passes import (
    BiasCorrection,
    Calibrate,
    Change,
    Compression,
    DType,
    Equalize,
    Quantize,
    QuantizeAware,
    Ranges,
    Recurrent,
    Rounding,
    Scheme,
)
from edgebuild.core.plan import Plan
from edgebuild.core.verdict import Status
from edgebuild.search.strategy import Candidate, Proposal

_MISSED = "the accuracy budget is missed"
_PLAIN = Calibrate(ranges=Ranges.BEST, rounding=Rounding.NEAREST, clip=False, bias=BiasCorrection.OFF)


class Means(NamedTuple):
    """What the ladder may use.

    Attributes:
        learns: whether there are samples to train on.
        equalize: its settings where a profile does not have it.
        qat: likewise.
    """

    learns: bool
    equalize: Equalize
    qat: QuantizeAware


class AccuracyRecovery:
    """A strategy that ends with the first build that keeps the accuracy budget; without one the best score is left.

    Args:
        means: what it may use.
    """

    def __init__(self, means: Means) -> None:
        self._means = means

    def propose(self, seen: Sequence[Candidate]) -> Sequence[Proposal]:
        """The next rung alone: each costs more than those before it."""
        if _keeps(seen[-1]):
            return ()
        known = {candidate.name for candidate in seen}
        rungs = (rung._replace(why=_MISSED) for rung in self._rungs(seen) if rung.name not in known)
        return list(itertools.islice(rungs, 1))

    def ranked(self, seen: Sequence[Candidate]) -> Sequence[Candidate]:
        """The one that was enough, else those with a better score than the build as planned."""
        if _keeps(seen[-1]):
            return seen[-1:]
        built = [candidate for candidate in seen if candidate.manifest is not None]
        return [candidate for candidate in sorted(built, key=_loss) if _loss(candidate) < _loss(seen[0])]

    def ending(self, seen: Sequence[Candidate]) -> str:
        """Which rung was enough, or why there are no more."""
        plan, last = seen[0].plan, seen[-1]
        if _keeps(last):
            return f"the accuracy budget is kept by {last.name}" if len(seen) > 1 else ""
        reasons = []
        if not plan.operators.float:
            reasons.append(f"{plan.target} runs no operators in float")
        if not plan.operators.int16:
            reasons.append("none in int16")
        if not self._means.learns:
            reasons.append("there are no train data to learn from")
        because = f": {', and '.join(reasons)}" if reasons else ""
        return f"nothing keeps the accuracy budget, the best build is left; the ladder ends here{because}"

    def _rungs(self, seen: Sequence[Candidate]) -> Iterator[Proposal]:
        """All rungs, as far as is known by now: which layers lose most is seen on the last build before their turn."""
        first = seen[0].plan
        rungs = list(refinements(first, self._means))
        yield from rungs
        names = {seen[0].name, *(rung.name for rung in rungs)}
        refined = [candidate.manifest for candidate in seen if candidate.name in names and candidate.manifest]
        worst_layers = _worst(refined[-1])
        yield from with_float_layers(rungs[-1].plan if rungs else first, worst_layers)
        if not first.operators.float or not worst_layers:
            yield from with_int16(first, self._means)
        yield from trained(first, self._means)


def misses(manifest: Manifest) -> bool:
    """Whether a build breaks a budget on its score."""
    return any(check.status == Status.FAIL and check.budget.subject in SCORES for check in manifest.verdict.checks)


def _keeps(candidate: Candidate) -> bool:
    return candidate.manifest is not None and not misses(candidate.manifest)


def _loss(candidate: Candidate) -> float:
    """Its score, with a sign by which less is better."""
    accuracy = candidate.manifest.accuracy if candidate.manifest is not None else None
    assert accuracy is not None, "what has no score misses no accuracy budget"
    return accuracy.artifact if accuracy.lower_is_better else -accuracy.artifact


def _worst(manifest: Manifest) -> tuple[str, ...]:
    """The layers that lose most signal on its way to the score, the worst first."""
    compared = manifest.losses.layers if manifest.losses is not None else None
    if compared is None:
        return ()
    lost = worst((loss for loss in compared.layers if loss.is_scored), len(compared.layers))
    return tuple(dict.fromkeys(name for loss in lost for name in loss.layers))


def refinements(plan: Plan, means: Means) -> Iterator[Proposal]:
    """What leaves size and speed as they are: better ranges, then equalization and bias correction, then rounding.

    Each includes those before; what the plan does already is no attempt.
    """
    if plan.quantize.scheme != Scheme.INT8 or plan.brings_ranges:
        return
    equalize, calibrate = _asked(plan)
    better = replace(calibrate or _PLAIN, ranges=Ranges.BEST)
    unbiased = better if better.bias != BiasCorrection.OFF else replace(better, bias=BiasCorrection.EMPIRICAL)
    rounded = replace(unbiased, rounding=Rounding.ADAPTIVE, clip=True)
    alike = _alike(plan, means)
    current = plan
    for name, passes in (
        ("better ranges", (*((equalize,) if equalize else ()), better)),
        ("equalization and bias correction", (alike, unbiased)),
        ("adaptive rounding", (alike, rounded)),
    ):
        tried = _refined(plan, passes)
        if tried.passes != current.passes:
            yield Proposal(name, tried)
            current = tried


def with_float_layers(plan: Plan, worst: Sequence[str]) -> Iterator[Proposal]:
    """The worst layers in float, twice as many each time, up to half of them; none where the target forbids float.

    None either of a network trained for int8: with its own ranges everywhere the converter quantizes all of it.

    Args:
        plan: an int8 plan.
        worst: layers by name, the one that loses most first.
    """
    if not plan.operators.float or plan.quantize.scheme != Scheme.INT8 or plan.brings_ranges:
        return
    asked = plan.quantize.float_layers
    ranked = [name for name in worst if name not in asked]
    count = 1
    while count <= max(1, len(ranked) // 2) and ranked:
        more = tuple(ranked[:count])
        yield Proposal(f"float for {', '.join(more)}", _quantized(plan, float_layers=(*asked, *more)))
        count *= 2


def with_int16(plan: Plan, means: Means) -> Iterator[Proposal]:
    """Activations of int16 all over, where the target runs them; weights stay int8, with channels made alike."""
    if plan.operators.int16 and plan.quantize.scheme == Scheme.INT8:
        ends = {
            end: DType.FLOAT32 if getattr(plan.quantize, end) == DType.FLOAT32 else DType.INT16
            for end in ("input", "output")
        }
        bare = replace(plan, passes=(*_untrained(plan), _alike(plan, means), plan.quantize))
        # No kernel of an LSTM as one operator takes int16.
        recurrent = Recurrent.AUTO if plan.quantize.recurrent == Recurrent.FUSED else plan.quantize.recurrent
        wide = {"scheme": Scheme.INT16X8, "float_layers": (), "float_answers": False, "recurrent": recurrent}
        yield Proposal("int16x8", _quantized(bare, **wide, **ends))


def trained(plan: Plan, means: Means) -> Iterator[Proposal]:
    """Quantization-aware training, taught by the float network, of channels made alike; all of it is int8 then."""
    if means.learns and not plan.is_aware and plan.quantize.scheme == Scheme.INT8:
        alike = replace(_alike(plan, means), fold=False)  # the training quantizes batch norms with what they follow
        aware_of = replace(plan, passes=(*_untrained(plan), alike, means.qat, plan.quantize))
        yield Proposal("quantization-aware training", _quantized(aware_of, float_layers=()))


def _untrained(plan: Plan) -> list[Compression]:
    """What is done before quantization is trained for."""
    return [step for step in plan.compressions if not isinstance(step, QuantizeAware)]


def _alike(plan: Plan, means: Means) -> Equalize:
    equalize, _ = _asked(plan)
    return replace(equalize or means.equalize, scales=True)


def _asked(plan: Plan) -> tuple[Equalize | None, Calibrate | None]:
    equalize = next((step for step in plan.refinements if isinstance(step, Equalize)), None)
    calibrate = next((step for step in plan.refinements if isinstance(step, Calibrate)), None)
    return equalize, calibrate


def _refined(plan: Plan, passes: Sequence[Change]) -> Plan:
    """With these refinements, and those of plug-ins where they follow what makes channels alike."""
    alike = [step for step in passes if isinstance(step, Equalize)]
    own = [step for step in plan.refinements if not isinstance(step, Equalize | Calibrate)]
    rest = [step for step in passes if step not in alike]
    return replace(plan, passes=(*plan.compressions, *alike, *own, *rest, plan.quantize))


def _quantized(plan: Plan, **changed: object) -> Plan:
    quantize = replace(plan.quantize, **changed)
    return replace(plan, passes=(*(s for s in plan.passes if not isinstance(s, Quantize)), quantize))
