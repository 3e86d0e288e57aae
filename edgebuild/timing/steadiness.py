"""When an artifact has warmed up."""

from __future__ import annotations

from collections.abc import Sequence

# A block that is faster than all before by less than this is noise rather than warming up.
_STILL_FALLING = 0.02
_FEWEST = 3
_LAST = 2


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
