"""The interval of an accuracy drop, from two scores on the same samples."""

from __future__ import annotations

import msgspec

from edgebuild import stats
from edgebuild.core.measurement import Paired

USUAL = 0.95
_UNKNOWN = (0.0, 0.0)


def of_pairs(worse: int, better: int, samples: int) -> Paired:
    """Where each sample is right or wrong; at least one sample."""
    made = Paired(
        samples=samples,
        worse=worse,
        better=better,
        mean=(worse - better) / samples,
        worth=1 / samples,
        interval=_UNKNOWN,
        test=f"Tango's score interval of {samples:,} pairs",
    )
    return msgspec.structs.replace(made, interval=within(made, USUAL))


def of_means(worse: int, better: int, mean: float, deviation: float, samples: int, *, is_share: bool) -> Paired:
    """Where each sample has a score of its own; at least two samples.

    Args:
        worse: samples with a worse score.
        better: samples with a better one.
        mean: of what a sample's score fell by.
        deviation: the standard deviation of that.
        samples: all of them.
        is_share: whether a sample's score is between 0 and 1.
    """
    made = Paired(
        samples=samples,
        worse=worse,
        better=better,
        mean=mean,
        deviation=deviation,
        worth=1 / samples if is_share else None,
        interval=_UNKNOWN,
        test=f"Student's t of {samples:,} paired differences",
    )
    return msgspec.structs.replace(made, interval=within(made, USUAL))


def scaled(paired: Paired, factor: float) -> Paired:
    """The same in another unit; `factor` is positive."""
    low, high = paired.interval
    return msgspec.structs.replace(
        paired,
        mean=paired.mean * factor,
        deviation=None if paired.deviation is None else paired.deviation * factor,
        worth=None if paired.worth is None else paired.worth * factor,
        interval=(low * factor, high * factor),
    )


def repeated(paired: Paired, times: int) -> Paired:
    """As many times the samples, with the same shares that do worse and better; its interval is not known yet."""
    return msgspec.structs.replace(
        paired,
        samples=times * paired.samples,
        worse=times * paired.worse,
        better=times * paired.better,
        worth=None if paired.worth is None else paired.worth / times,
        interval=_UNKNOWN,
    )


def within(paired: Paired, confidence: float) -> tuple[float, float]:
    """The interval of the drop with a confidence, above 0 and below 1."""
    if confidence == USUAL and paired.interval != _UNKNOWN:
        return paired.interval
    if paired.deviation is None or (paired.worth is not None and not paired.worse and not paired.better):
        # Where no sample changed, their spread says nothing; that none did says something.
        return stats.paired_difference(paired.worse, paired.better, paired.samples, confidence)
    return stats.mean_difference(paired.mean, paired.deviation, paired.samples, confidence)
