"""Comparison: an artifact's figures beside those of an earlier one, its baseline."""

from __future__ import annotations

import msgspec

from edgebuild.core.budget import Subject, Unit

Interval = tuple[float, float]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both artifacts.

    Attributes:
        where: the place that both figures come from, or "file".
        at: the statistic compared where there are samples: "median", "p90" or "p99"; empty for exact figures, and for
            those that each process has one of.
        ratio: value / baseline.
        interval: 95 % interval of the ratio where it was measured; None where both figures are exact.
        test: how the ratio was come by: "exact", or the name of the statistical test.
    """

    subject: Subject
    unit: Unit
    where: str
    baseline: float
    value: float
    ratio: float
    at: str = ""
    interval: Interval | None = None
    test: str = "exact"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact held against a baseline.

    Attributes:
        baseline: what the user named: a file, a folder, a git ref.
        sha256: of the baseline's artifact; empty where there is no comparison.
        lacking: why there is no comparison, or why a part of it is missing; empty where nothing is.
    """

    baseline: str
    sha256: str = ""
    changes: tuple[Change, ...] = ()
    lacking: str = ""
