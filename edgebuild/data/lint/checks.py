"""The table of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgebuild.core.finding import Finding
from edgebuild.data.lint import classes, columns, constants, content, fit
from edgebuild.data.lint.subject import Subject

# A new check is a function here, and its code in `core.finding`.
CHECKS: tuple[Callable[[Subject], Iterable[Finding]], ...] = (
    content.amount,
    content.repetition,
    content.overlap,
    fit.fit,
    constants.constants,
    columns.columns,
    classes.labels,
    classes.coverage,
    classes.balance,
    classes.chance,
)


def lint(subject: Subject) -> tuple[Finding, ...]:
    """Everything that the checks find, in their order."""
    return tuple(finding for check in CHECKS for finding in check(subject))
