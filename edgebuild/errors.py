"""What can go wrong, sorted by the exit code it ends in. Only `edgebuild.cli` turns these into text and codes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the command, as releases are gated on them."""

    OK = 0
    BUDGET_FAILED = 1
    USAGE = 2
    BUG = 3
    STEP_FAILED = 4
    INCONCLUSIVE = 5
    INTERRUPTED = 130


class EdgebuildError(Exception):
    """An expected failure: what happened, why, and what to do about it.

    Attributes:
        what: one sentence that names the thing concerned.
        why: the cause, or an empty string where `what` already says it.
        remedy: what the user can do, or an empty string.
    """

    exit_code = ExitCode.STEP_FAILED

    def __init__(self, what: str, why: str = "", remedy: str = "") -> None:
        super().__init__(what, why, remedy)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.remedy) if part)


class UsageError(EdgebuildError):
    """The command, its configuration or the data named by it are wrong; nothing was built."""

    exit_code = ExitCode.USAGE


class StepError(EdgebuildError):
    """A step of the build failed: a bad model, a refused conversion, a file that could not be written."""

    exit_code = ExitCode.STEP_FAILED


class UnavailableError(EdgebuildError):
    """A figure or tool that is required cannot be had here."""

    exit_code = ExitCode.INCONCLUSIVE


BY_EXIT_CODE: dict[int, type[EdgebuildError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.STEP_FAILED: StepError,
    ExitCode.INCONCLUSIVE: UnavailableError,
}
