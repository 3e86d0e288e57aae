"""When an artifact has warmed up, how long blocks are, and when there have been enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgebuild.timing.intervals import Interval, half_width

# Long enough that asking for a block costs little of it, short enough that its neighbour sees the same machine.
_SHORTEST_BLOCK_S = 0.01
_LONGEST_BLOCK_S = 0.06
# A process runs so many blocks of at most so many samples. Many short ones: the more often two artifacts take turns,
# the more of what happens to the machine happens to both. After that, time is better spent on another process.
MOST_BLOCKS = 30
MOST_SAMPLES = 16
# The first inference of a block finds caches that another process has filled; those after it should outnumber it.
_SAMPLES_A_BLOCK = 4
# A block that is faster than all before by less than this is noise rather than warming up.
_STILL_FALLING = 0.02
_FEWEST = 3
_LAST = 2


def block_s(inference_s: float) -> float:
    """How long a block of an artifact should be; one inference of a slow one may take longer."""
    return min(max(_SHORTEST_BLOCK_S, _SAMPLES_A_BLOCK * inference_s), _LONGEST_BLOCK_S)


def is_enough(interval: Interval | None, precision: float, limits: Iterable[float] = ()) -> bool:
    """Whether an interval is narrow enough, and on one side of each limit that it will be held against.

    More and more is measured until this is so, and each look is another chance to be wrong. Near a limit either verdict
    is a close call; far from it, an interval that is both narrow and wrong by several times its width is what Student's
    t and the twice counted noise of `intervals` guard against.

    Args:
        interval: what is known so far; None for nothing.
        precision: the half width that is asked for, as a share.
        limits: in the interval's unit.
    """
    if interval is None or half_width(interval) > precision:
        return False
    low, high = interval
    return not any(low <= limit <= high for limit in limits)


def is_steady(medians: Sequence[float]) -> bool:
    """Whether the medians of successive warm-up blocks have stopped falling.

    The last two are held against the lowest before them: caches, packed weights and a clock that rises make blocks
    faster until they do not any more, while a neighbour that comes makes them slower, which is no warming up. So this
    ends on a noisy machine too, where a bound on the spread of successive iterations (Georges, Buytaert and Eeckhout,
    Statistically Rigorous Java Performance Evaluation, 2007, section 4.2) would never be met.
    """
    if len(medians) < _FEWEST:
        return False
    return min(medians[-_LAST:]) >= min(medians[:-_LAST]) * (1 - _STILL_FALLING)
