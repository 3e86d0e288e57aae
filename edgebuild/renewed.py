"""The budgets of an artifact that was built before: those of today's settings over those that were recorded."""

from __future__ import annotations

from collections.abc import Sequence

from edgebuild import config, plugins, targets
from edgebuild.core.budget import Budget
from edgebuild.core.manifest import Manifest
from edgebuild.gating import judgeable
from edgebuild.gating.budgets import is_off, read
from edgebuild.layering import overlay


def budgets(manifest: Manifest | None, of: judgeable.Of, known: config.Configuration) -> tuple[Budget, ...]:
    """What a configuration sets, over what a manifest recorded.

    Raises:
        UsageError: a budget cannot be read, or there can be no figure for it. What was recorded stands: it was possible
            when it was built.
    """
    table = overlay(known.budgets_over_profile(manifest.target if manifest is not None else ""))
    metric = manifest.plan.metric if manifest is not None else plugins.metric(known.settings.metric)
    given = read(table, metric)
    judgeable.require(given, of)
    recorded = manifest.plan.budgets if manifest is not None else ()
    return (*(budget for budget in recorded if _still_holds(budget, table.values.get(budget.subject), given)), *given)


def _still_holds(recorded: Budget, written: object, given: Sequence[Budget]) -> bool:
    """Whether a recorded budget holds beside what is set on its subject now.

    What is set takes its place; but a device has no more memory than it has, as long as nothing is tighter.
    """
    if written is None or is_off(written):
        return written is None
    tighter = (
        budget.limit <= recorded.limit
        for budget in given
        if (budget.subject, budget.of_baseline) == (recorded.subject, False)
    )
    return recorded.origin.startswith(targets.OF_MEMORY) and not any(tighter)
