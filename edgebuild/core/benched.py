"""Benched: an artifact as `edgebuild bench` measured it."""

from __future__ import annotations

import msgspec

from edgebuild.core.comparison import Comparison
from edgebuild.core.measurement import Measurement
from edgebuild.core.operator_times import OperatorTimes
from edgebuild.core.verdict import Verdict


class Benched(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one artifact, judged.

    Attributes:
        artifact: the path of the file.
        sha256: of the file.
        target: that it was built for; empty where nothing is known of it.
        measurements: of the places that it was run at.
        verdict: on all budgets that hold for it.
        has_costs_of_its_own: whether a latency on this host is none of its target's.
        lower_is_better: the direction of the score that its build was scored by.
        comparison: with its baseline; None where none was named.
        operators: where the time goes; None where that was not asked for.
        lacking: why a figure could not be had, as "SUBJECT on PLACE".
        notes: what there is to say: places that are not there, what disturbed a measurement.
    """

    artifact: str
    sha256: str
    target: str
    measurements: tuple[Measurement, ...]
    verdict: Verdict
    has_costs_of_its_own: bool = False
    lower_is_better: bool = False
    comparison: Comparison | None = None
    lacking: dict[str, str] = {}
    operators: OperatorTimes | None = None
    notes: tuple[str, ...] = ()
