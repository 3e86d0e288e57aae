"""The statistics that samples are summed up in, and their intervals by resampling blocks within fresh processes.

Inferences of one block share the clock's speed and the neighbours of that moment, and blocks of one process share where
its memory lies, so that a thousand samples of one process tell less than it seems. What is drawn with replacement are
therefore whole processes, each with all its blocks: of the ways to resample hierarchical data the one that keeps their
variance (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; for benchmarks see Kalibera
and Jones, Rigorous Benchmarking in Reasonable Time, 2013).

Of n processes the resamples spread too little: by sqrt((n - 1) / n), and with the normal distribution's tails instead
of Student's. Both are put right here. And since three processes may agree by luck, the interval is never narrower than
what the blocks within the processes allow, drawn by themselves. So it reaches to each side of the logarithm by

    max(t(n - 1) sqrt(n / (n - 1)) S(processes), z S(blocks))

with S the standard deviation of the resampled logarithms. Of a single process its blocks stand for the processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgebuild.stats import NORMAL, student

RESAMPLES = 400

Counts = np.ndarray[Any, np.dtype[np.int64]]
# The quantiles that are told and compared, and the share of samples at or below each.
SHARES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
# With fewer samples beyond a quantile than this its interval would rest on a handful of accidents.
_FEWEST_BEYOND = 5
Samples = np.ndarray[Any, np.dtype[np.float64]]
Interval = tuple[float, float]
# Samples by process and block, in order; every block has at least one.
Processes = Sequence[Sequence[Samples]]
_SEED = 0
# Of the exponential function beyond this there is no float.
_ENDLESS = 700.0


class Resampled(NamedTuple):
    """The logarithm of a statistic in each resample: of whole processes, and of the blocks within each."""

    processes: Samples
    blocks: Samples


def reach(resampled: Resampled, blocks: Sequence[int]) -> float:
    """Half the 95 % interval of a logarithm; infinite where there is one block alone.

    Args:
        resampled: the logarithm.
        blocks: how many each process ran.
    """
    within = _deviation(resampled.blocks)
    units = len(blocks) if len(blocks) > 1 else blocks[0]
    if units < 2:
        return math.inf
    across = _deviation(resampled.processes) if len(blocks) > 1 else within
    return max(student(units - 1) * math.sqrt(units / (units - 1)) * across, NORMAL * within)


def _deviation(logarithms: Samples) -> float:
    """Nothing where all are equal: the mean of equal floats may differ from them by a bit."""
    return float(logarithms.std()) if np.ptp(logarithms) else 0.0


def resampled_quantiles(processes: Sequence[Sequence[Samples]], share: float, seed: int) -> Resampled:
    """The quantile of all samples together, resampled with the same draws for the same seed and numbers of blocks.

    Args:
        processes: samples by process and block.
        share: of samples at or below the quantile.
        seed: of the drawing.
    """
    blocks = [block for process in processes for block in process]
    sizes = [len(process) for process in processes]
    rng = np.random.default_rng(seed)
    return Resampled(
        *(
            np.log(_quantiles(blocks, counts, share))
            for counts in (_drawn_processes(sizes, rng), _drawn_blocks(sizes, rng))
        )
    )


def _drawn_processes(sizes: Sequence[int], rng: np.random.Generator) -> Counts:
    """How often each block is in each resample, [resamples, blocks], where whole processes are drawn."""
    often = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
    return np.repeat(often, sizes, axis=1)


def _drawn_blocks(sizes: Sequence[int], rng: np.random.Generator) -> Counts:
    """How often each block is in each resample, [resamples, blocks], where each process draws from its own."""
    return np.concatenate([rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES) for size in sizes], axis=1)


def _quantiles(blocks: Sequence[Samples], counts: Counts, share: float) -> Samples:
    """The quantile of all samples in each resample, given how often each block is in it."""
    samples = np.concatenate(blocks)
    order = np.argsort(samples)
    owners = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])[order]
    below = np.cumsum(counts[:, owners], axis=1, dtype=np.int32)
    # A hair less, so that the product's last bit does not ask for the next sample.
    wanted = below[:, -1:] * (share * (1 - 1e-12))
    found: Samples = samples[order][np.argmax(below >= wanted, axis=1)]
    return found


def describe(samples: Samples) -> dict[str, float]:
    """Median, p90, p99, minimum and maximum in the samples' unit; quantiles but the median by nearest rank.

    Raises:
        ValueError: there is no sample.
    """
    if not samples.size:
        raise ValueError("no samples")
    found = {name: quantile(samples, share) for name, share in SHARES.items()}
    return {**found, "min": float(samples.min()), "max": float(samples.max())}


def quantile(samples: Samples, share: float) -> float:
    """The smallest sample with at least `share` of all at or below it; of the median the usual mean of two."""
    return float(np.quantile(samples, share, method="hazen" if share == SHARES["median"] else "inverted_cdf"))


def is_estimable(count: int, share: float) -> bool:
    """Whether so many samples are enough for an interval of this quantile."""
    return share <= SHARES["median"] or count * (1 - share) >= _FEWEST_BEYOND


def intervals(processes: Processes) -> dict[str, Interval]:
    """95 % intervals of the quantiles, by a bootstrap.

    Samples are positive. A quantile that there are too few samples for is left out, and so is everything where there is
    one block alone. Of a single process the interval tells nothing of what another process would give.
    """
    found = {name: _interval(processes, share) for name, share in SHARES.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def of_median(processes: Processes) -> Interval | None:
    """The 95 % interval of the median, as in `intervals`; None where there is one block alone."""
    return _interval(processes, SHARES["median"])


def around(value: float, half: float) -> Interval:
    """The interval about a positive value whose logarithm is known to within `half`."""
    return value * math.exp(-half), value * math.exp(half) if half < _ENDLESS else math.inf


def half_width(interval: Interval) -> float:
    """Half the width of an interval as a share of its middle; 0 where both ends are 0."""
    low, high = interval
    return (high - low) / (high + low) if high + low > 0 else 0.0


def _interval(processes: Processes, share: float) -> Interval | None:
    samples = np.concatenate([block for process in processes for block in process])
    if not is_estimable(samples.size, share):
        return None
    half = reach(resampled_quantiles(processes, share, _SEED), [len(process) for process in processes])
    return around(quantile(samples, share), half) if math.isfinite(half) else None
