"""What the evaluation split can tell apart, beside what budgets ask of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.finding import Code, Finding
from edgebuild.core.plan import Plan
from edgebuild.core.settings import MetricKind
from edgebuild.units import format_share

# Scores in which one sample counts for 1 / samples.
_COUNTED = (MetricKind.ACCURACY, MetricKind.TOP_K)


def findings(plan: Plan, samples: int) -> Iterator[Finding]:
    """Limits on the accuracy drop that are finer than what one evaluation sample is worth.

    A limit of nothing at all is exact on any number of samples, and is meant so.

    Args:
        plan: with the metric that labels settled.
        samples: that are scored.
    """
    if Code.EVALUATION_TOO_SMALL in plan.ignores or plan.metric.name not in _COUNTED or not samples:
        return
    limits = [
        budget.limit
        for budget in plan.budgets
        if (budget.subject, budget.unit) == (Subject.ACCURACY_DROP, Unit.SHARE) and 0 < budget.limit < 1 / samples
    ]
    if not limits:
        return
    limit, worth = (format_share(share).replace("%", "points") for share in (min(limits), 1 / samples))
    yield Finding(
        code=Code.EVALUATION_TOO_SMALL,
        what=f"accuracy_drop at most {limit} is finer than the evaluation split: "
        f"one of its {samples:,} samples is worth {worth}",
        why="A single sample that turns wrong breaks the budget, whatever the artifact loses on others.",
        remedy=f"Score at least {math.ceil(1 / min(limits)):,} samples (x_eval), or allow a sample: "
        f'accuracy_drop = "{math.ceil(10000 / samples) / 100:g} %".',
    )
