"""The gate: budgets held against measurements. Pure, so that `build` and `check` judge alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from edgebuild.core.budget import Budget, Level
from edgebuild.core.measurement import Measurement
from edgebuild.core.verdict import Check, Status, Verdict, worst

_LAST_BITS = 1e-9


def judge(
    budgets: Iterable[Budget],
    measurements: Sequence[Measurement],
    *,
    lower_is_better: bool,
    lacking: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """Hold each budget against its figure.

    Args:
        budgets: the limits.
        measurements: the figures there are; a budget without one is inconclusive.
        lower_is_better: the direction of the accuracy metric, whose limit is a minimum unless it is true.
        lacking: why there is no figure, by subject, as far as that is known.
    """
    checks = tuple(_check(budget, measurements, lower_is_better, lacking) for budget in budgets)
    return Verdict(status=worst(check.status for check in checks), checks=checks)


def _check(
    budget: Budget, measurements: Sequence[Measurement], lower_is_better: bool, lacking: Mapping[str, str]
) -> Check:
    found = [
        measurement
        for measurement in measurements
        if (measurement.subject, measurement.unit) == (budget.subject, budget.unit)
        and budget.on in (None, measurement.where)
    ]
    if not found:
        reason = f"no figure for {budget.subject}" + (f" on {budget.on}" if budget.on else "")
        reason += f": {lacking[budget.subject]}" if budget.subject in lacking else ""
        status = Status.INCONCLUSIVE if budget.level == Level.ERROR else Status.WARN
        return Check(budget=budget, status=status, value=None, headroom=None, reason=reason)
    value = found[0].value
    if math.isnan(value):
        status = Status.INCONCLUSIVE if budget.level == Level.ERROR else Status.WARN
        return Check(budget=budget, status=status, value=None, headroom=None, reason="the figure is not a number")
    is_minimum = budget.is_minimum(lower_is_better=lower_is_better)
    headroom = value - budget.limit if is_minimum else budget.limit - value
    # A drop is a difference of two floats: equal to the limit on paper must not fail on the last bit.
    blur = _LAST_BITS * max(abs(budget.limit), abs(value))
    kept = headroom >= -blur
    if not kept:
        status = Status.FAIL if budget.level == Level.ERROR else Status.WARN
        reason = "below the limit" if is_minimum else "over the limit"
    elif headroom < budget.headroom * abs(budget.limit) - blur:
        status, reason = Status.WARN, "kept, with less headroom than asked for"
    else:
        status, reason = Status.PASS, "kept"
    return Check(budget=budget, status=status, value=value, headroom=headroom, reason=reason)
