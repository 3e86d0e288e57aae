"""Two artifacts whose blocks ran in turn: the ratio of their costs, and how far it is certain.

Blocks of both follow one another closely (A B, B A, A B, ...) in two processes of one core, so that what slows the
machine down slows both: the ratio of two neighbouring blocks stands where the times themselves move by a fifth. Of a
block its lower quartile counts: the same work is done in each inference, and neighbours only ever add to it. Of the
ratios of one pair of processes the median is taken, since a neighbour may strike one block of a pair and not the other;
over pairs of processes, the mean of logarithms.

What is tested is whether the ratio differs from a given one: it does, at 5 %, where that lies outside of the interval
(a paired t test over pairs of processes, its standard error by the bootstrap of `intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgebuild.timing.intervals import (
    RESAMPLES,
    SHARES,
    Interval,
    Processes,
    Resampled,
    Samples,
    around,
    is_estimable,
    quantile,
    reach,
    resampled_quantiles,
)

PAIRED_BLOCKS = "paired t test over processes, of blocks in turn (ABBA, lower quartiles), bootstrapped"
PAIRED_PROCESSES = "paired t test over processes, of all samples, bootstrapped"

_QUARTILE = 0.25
_SEED = 1


class Ratio(NamedTuple):
    """An artifact's cost over its baseline's, the 95 % interval, and the test that it comes from."""

    ratio: float
    interval: Interval
    test: str


def ratios(artifact: Processes, baseline: Processes) -> dict[str, Ratio]:
    """The ratios of median, p90 and p99.

    Args:
        artifact: samples by process and block.
        baseline: those of the baseline: block for block what ran next to the artifact's.

    Returns:
        By statistic; those that there are too few samples or blocks for are left out.

    Raises:
        ValueError: the blocks do not pair.
    """
    found = {"median": of_medians(artifact, baseline)}
    for name, share in SHARES.items():
        if name not in found:
            found[name] = _of_tails(artifact, baseline, share)
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def of_medians(artifact: Processes, baseline: Processes) -> Ratio | None:
    """The ratio of what an inference usually costs, by neighbouring blocks; None where there is one pair alone.

    Raises:
        ValueError: the blocks do not pair.
    """
    pairs = [
        np.asarray([_logarithm(one) - _logarithm(other) for one, other in zip(ours, theirs, strict=True)])
        for ours, theirs in zip(artifact, baseline, strict=True)
    ]
    half = reach(_resampled_means(pairs), [len(process) for process in pairs])
    return _ratio(float(np.mean([np.median(process) for process in pairs])), half, PAIRED_BLOCKS)


def _of_tails(artifact: Processes, baseline: Processes, share: float) -> Ratio | None:
    """By all samples, blocks of both drawn together: a block has too few samples for a tail of its own."""
    ours, theirs = _together(artifact), _together(baseline)
    if not is_estimable(min(ours.size, theirs.size), share):
        return None
    above, below = (resampled_quantiles(processes, share, _SEED) for processes in (artifact, baseline))
    resampled = Resampled(above.processes - below.processes, above.blocks - below.blocks)
    ratio = np.log(quantile(ours, share) / quantile(theirs, share))
    return _ratio(float(ratio), reach(resampled, [len(process) for process in artifact]), PAIRED_PROCESSES)


def _logarithm(block: Samples) -> float:
    return float(np.log(np.quantile(block, _QUARTILE)))


def _resampled_means(pairs: Sequence[Samples]) -> Resampled:
    """The mean over processes of the median over blocks."""
    rng = np.random.default_rng(_SEED)
    medians = np.asarray([np.median(process) for process in pairs])
    across = medians[rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))].mean(axis=1)
    within = [
        np.median(process[rng.integers(len(process), size=(RESAMPLES, len(process)))], axis=1) for process in pairs
    ]
    return Resampled(across, np.mean(within, axis=0))


def _together(processes: Processes) -> Samples:
    return np.concatenate([block for process in processes for block in process])


def _ratio(logarithm: float, half: float, test: str) -> Ratio | None:
    ratio = float(np.exp(logarithm))
    return Ratio(ratio, around(ratio, half), test) if np.isfinite(half) else None
