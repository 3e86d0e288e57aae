"""Verdict: what the gate says, and every check it says it from."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from edgebuild.core.budget import Budget


class Status(StrEnum):
    """The outcome of a check or of all of them."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


_WORST_FIRST = (Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS)


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of some outcomes: fail, inconclusive, warn, pass; pass where there is none."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), Status.PASS)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One budget held against its figure.

    `value` is None where the figure could not be had. `headroom` is what is left of the limit, in the budget's unit;
    negative where the limit is broken. `basis` says what the figure is: measured, emulated or estimated, and of what
    where that is not the target's own; empty where there is none.
    """

    budget: Budget
    status: Status
    value: float | None
    headroom: float | None
    reason: str
    basis: str = ""


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What was named beside budgets and is not there: a baseline, a device. It counts like a check.

    Attributes:
        what: what was named: "baseline v1.2", "figures on ssh:pi".
        status: WARN, or INCONCLUSIVE where the verdict cannot do without it.
        reason: why it is not there.
    """

    what: str
    status: Status
    reason: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The worst of all checks and requirements: fail before inconclusive before warn before pass.

    There is a check for each budget that was named, in their order; exit codes follow from `status` alone.
    """

    status: Status
    checks: tuple[Check, ...]
    requirements: tuple[Requirement, ...] = ()
