"""Measurement: a figure that knows how it was come by."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from edgebuild.core.budget import Subject, Unit


class Mode(StrEnum):
    """How a figure was come by."""

    MEASURED = "measured"
    EMULATED = "emulated"
    ESTIMATED = "estimated"


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one artifact.

    Attributes:
        value: the figure in `unit`; the median where there are samples.
        samples: raw samples in the order they were taken, in `unit`.
        blocks: how many of the samples each block has, in order; a block is timed without a break.
        statistics: derived from the samples: "median", "p90", "p99", "min", "max".
        intervals: 95 % intervals of those statistics that samples have noise in: "median", "p90", "p99".
        between: the least and the most that the figure can be on the target, where this machine's differs: of an arena
            with 32-bit pointers, of a runtime that plans otherwise. No statistics; None where the figure is its own.
        conditions: what disturbed the measurement: throttling, neighbours, a core that could not be pinned.
        where: the place it was measured ("host", see Place.label), or "file" for a property of the file alone.
        machine: what that place is, for people.
        kernels: the kernels that ran, or empty where none did.
        settings: what a repetition needs to know: threads, processes, samples scored.
        versions: the packages that the figure depends on.
        of: whose figure it is, where that is not the target's own, for people.
        paired: of an accuracy drop: what the choice of samples could account for; None where that is not known.
    """

    subject: Subject
    value: float
    unit: Unit
    mode: Mode
    where: str
    machine: str = ""
    kernels: str = ""
    samples: tuple[float, ...] = ()
    blocks: tuple[int, ...] = ()
    statistics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    conditions: tuple[str, ...] = ()
    settings: dict[str, int] = {}
    versions: dict[str, str] = {}
    of: str = ""
    paired: Paired | None = None
    between: tuple[float, float] | None = None


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """The float model's score and the artifact's, compared sample by sample; in the unit of the drop.

    On the evaluation split itself a drop is exact. This says how far it holds for other samples of the same kind.

    Attributes:
        samples: that both were scored on.
        worse: samples that the artifact does worse on.
        better: samples that it does better on.
        mean: of what a sample's score fell by: the drop.
        deviation: the standard deviation of that; None where each sample is right or wrong, and `worse` and `better`
            say all there is.
        worth: what one sample that turns from right to wrong adds to the drop; None where a sample has no such bound.
        interval: of the drop, with 95 %.
        test: what the interval comes from.
    """

    samples: int
    worse: int
    better: int
    mean: float
    deviation: float | None = None
    worth: float | None = None
    interval: tuple[float, float]
    test: str
