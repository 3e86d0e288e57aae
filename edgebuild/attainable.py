"""Limits that no artifact keeps, or that every artifact keeps: as budgets they say nothing, and so are refused."""

from __future__ import annotations

from edgebuild.core.budget import SCORES, Budget, Subject, Unit
from edgebuild.core.metric import Metric
from edgebuild.core.settings import MetricKind
from edgebuild.units import format_share

_LAST_BITS = 1e-9
# Scores that are no means over samples, so that no interval of their drop is known.
_NO_MEANS = (MetricKind.AUC, MetricKind.MIOU, MetricKind.IOU, MetricKind.RMSE, MetricKind.R2)


def problem(budget: Budget, metric: Metric) -> str:
    """Why a limit always or never holds, and what to write; empty where it depends on the artifact.

    Args:
        budget: as it was read; of a score whose metric is not settled yet, as far as its unit tells.
        metric: that scores, settled or as asked for.
    """
    if budget.confidence and (metric.is_open or metric.name in _NO_MEANS):
        return f"{metric.label} is no mean over samples, and its drop has no interval: leave `confidence` out"
    if budget.of_baseline:
        return ""  # the parser knows the changes that leave nothing
    if budget.subject in SCORES:
        return _of_score(budget, metric)
    if budget.subject == Subject.NPU_SHARE:
        return _of_share(budget)
    if budget.limit <= 0:
        return "no artifact takes nothing at all: write a limit over 0"
    return _of_headroom(budget)


def _of_score(budget: Budget, metric: Metric) -> str:
    if budget.subject == Subject.ACCURACY_DROP:
        # Until labels choose the metric, a percentage may be one of the float network's error, which has no end.
        if metric.is_share and budget.limit >= 1:
            return "no accuracy falls by more than 100 %: write a smaller limit, or off"
        return _of_headroom(budget)
    if budget.unit == Unit.SHARE and not metric.is_open:
        return _of_share(budget)
    if metric.less_is_more and not metric.is_open and budget.limit < 0:
        return f"{metric.label} is never less than 0: write a limit over 0"
    if metric.name == MetricKind.R2 and budget.limit > 1:
        return f"{metric.label} is never more than 1: write a limit up to 1"
    return _of_headroom(budget) if metric.less_is_more else ""


def _of_share(budget: Budget) -> str:
    """Of a share that is to be at least so much."""
    if budget.limit > 1:
        return f"{format_share(budget.limit)} is more than all of it: write a percentage up to 100 %"
    if budget.limit <= 0:
        return f"at least {format_share(0)} is always kept: write a percentage over 0 %, or off"
    least = budget.limit * (1 + budget.headroom)
    if least > 1 + _LAST_BITS:
        return (
            f"a headroom of {format_share(budget.headroom)} beside at least {format_share(budget.limit)} takes "
            f"{format_share(least)}, more than all of it: write one up to {format_share(1 / budget.limit - 1)}"
        )
    return ""


def _of_headroom(budget: Budget) -> str:
    if budget.headroom >= 1 and budget.limit > 0:
        return "a headroom of 100 % leaves nothing of the limit: write a smaller one"
    return ""
