"""From verdicts and errors to the exit code that gates a release."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgebuild.core.verdict import Status
from edgebuild.errors import ExitCode

_CODES = {
    Status.PASS: ExitCode.OK,
    Status.WARN: ExitCode.OK,
    Status.FAIL: ExitCode.BUDGET_FAILED,
    Status.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


def exit_code(statuses: Iterable[Status], errors: Sequence[ExitCode]) -> ExitCode:
    """A failed step before a failed budget before a figure that could not be had before success."""
    if errors:
        return max(errors, key=[ExitCode.INCONCLUSIVE, ExitCode.USAGE, ExitCode.STEP_FAILED].index)
    codes = {_CODES[status] for status in statuses}
    order = (ExitCode.BUDGET_FAILED, ExitCode.INCONCLUSIVE, ExitCode.OK)
    return next(code for code in order if code in codes)
