"""Figures in words."""

from __future__ import annotations

from edgebuild.core.budget import Budget, Subject, Unit
from edgebuild.core.passes import Pass, Prune, Quantize
from edgebuild.units import format_bytes, format_seconds, format_share


def figure(value: float, unit: Unit, subject: Subject | None = None) -> str:
    """A figure with its unit; a drop of a share is in points, since it is a difference of percentages."""
    if unit == Unit.BYTES:
        return format_bytes(value)
    if unit == Unit.SECONDS:
        return format_seconds(value)
    if unit == Unit.SHARE:
        text = format_share(value)
        return text.replace("%", "points") if subject == Subject.ACCURACY_DROP else text
    if unit == Unit.RELATIVE:
        return f"{format_share(value)} of the float network's"
    return f"{value:.6g}"


def limit(budget: Budget, *, lower_is_better: bool) -> str:
    """A budget's limit: "at most 60.0 KB"."""
    is_minimum = budget.subject == Subject.ACCURACY and not lower_is_better
    return f"{'at least' if is_minimum else 'at most'} {figure(budget.limit, budget.unit, budget.subject)}"


def name(budget: Budget) -> str:
    """A budget's subject, with the place it holds for."""
    return f"{budget.subject} on {budget.on}" if budget.on else str(budget.subject)


def step(item: Pass) -> str:
    """A pass: "quantize to int8, float32 in and out"."""
    if isinstance(item, Prune):
        return f"prune to {format_share(item.sparsity)} zeros"
    assert isinstance(item, Quantize)
    return f"quantize to {ends(item)}"


def ends(quantize: Quantize) -> str:
    """A quantization with the types at its ends."""
    if quantize.input == quantize.output:
        return f"{quantize.scheme}, {quantize.input} in and out"
    return f"{quantize.scheme}, {quantize.input} in, {quantize.output} out"
