"""The repair ladder: plans for a network whose int8 misses its accuracy budget, the cheapest change first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

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

_PLAIN = Calibrate(ranges=Ranges.BEST, rounding=Rounding.NEAREST, clip=False, bias=BiasCorrection.OFF)


class Attempt(NamedTuple):
    """A plan to try, and what it does more than the one before it."""

    name: str
    plan: Plan


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


def refinements(plan: Plan, means: Means) -> Iterator[Attempt]:
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
            yield Attempt(name, tried)
            current = tried


def with_float_layers(plan: Plan, worst: Sequence[str]) -> Iterator[Attempt]:
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
        yield Attempt(f"float for {', '.join(more)}", _quantized(plan, float_layers=(*asked, *more)))
        count *= 2


def with_int16(plan: Plan, means: Means) -> Iterator[Attempt]:
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
        yield Attempt("int16x8", _quantized(bare, **wide, **ends))


def trained(plan: Plan, means: Means) -> Iterator[Attempt]:
    """Quantization-aware training, taught by the float network, of channels made alike; all of it is int8 then."""
    if means.learns and not plan.is_aware and plan.quantize.scheme == Scheme.INT8:
        alike = replace(_alike(plan, means), fold=False)  # the training quantizes batch norms with what they follow
        aware_of = replace(plan, passes=(*_untrained(plan), alike, means.qat, plan.quantize))
        yield Attempt("quantization-aware training", _quantized(aware_of, float_layers=()))


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
    return replace(plan, passes=(*plan.compressions, *passes, plan.quantize))


def _quantized(plan: Plan, **changed: object) -> Plan:
    quantize = replace(plan.quantize, **changed)
    return replace(plan, passes=(*(s for s in plan.passes if not isinstance(s, Quantize)), quantize))
