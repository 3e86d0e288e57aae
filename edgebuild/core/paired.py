"""Paired: what of a difference between two scores on the same samples the choice of samples could account for."""

from __future__ import annotations

import msgspec


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
