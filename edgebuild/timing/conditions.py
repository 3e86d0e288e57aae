"""What disturbed a measurement, in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# Shares beyond which something is said.
_TAKEN = 0.05
_DRIFT = 0.10
_UNEVEN = 0.25
_FEWEST = 6


class BlockRecord(NamedTuple):
    """What is known of one block.

    Attributes:
        cost: the median of its samples.
        wall_s: how long it ran.
        cpu_s: what it had of the processor, all threads together; None where unknown.
        preempted: how often the core was taken away; None where unknown.
        probe_s: how long the probe before it took; None where there was none.
    """

    cost: float
    wall_s: float
    cpu_s: float | None
    preempted: int | None
    probe_s: float | None


def conditions(blocks: Sequence[BlockRecord]) -> tuple[str, ...]:
    """What the blocks of one artifact, in the order of time, tell of the machine; nothing where it was quiet."""
    return (*_neighbours(blocks), *_clock(blocks))


def _neighbours(blocks: Sequence[BlockRecord]) -> Iterator[str]:
    known = [(block.cpu_s, block.wall_s, block.preempted) for block in blocks if block.cpu_s is not None]
    wall_s = sum(wall for _, wall, _ in known)
    taken = 1 - sum(cpu for cpu, _, _ in known) / wall_s if wall_s else 0.0
    if taken > _TAKEN:
        times = sum(preempted or 0 for _, _, preempted in known)
        often = f", {times} times" if times else ""
        yield f"neighbours: {taken:.0%} of the time the core worked for other processes{often}"


def _clock(blocks: Sequence[BlockRecord]) -> Iterator[str]:
    """Throttling makes the probe and the artifact slower towards the end; a shared core makes the probe uneven."""
    probes = np.asarray([block.probe_s for block in blocks if block.probe_s is not None])
    if len(probes) < _FEWEST:
        return
    slower, dearer = _drift(probes), _drift(np.asarray([block.cost for block in blocks]))
    if slower > _DRIFT and dearer > _DRIFT:
        yield f"throttling: the core was {slower:.0%} slower towards the end, and inferences {dearer:.0%}"
        return
    fast, slow = np.quantile(probes, [0.1, 0.9])
    if slow > fast * (1 + _UNEVEN):
        yield f"uneven: the core's speed changed by {slow / fast - 1:.0%} between blocks (its clock, or other work)"


def _drift(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """By how much the last third is above the first, in the middle of each."""
    third = len(values) // 3
    return float(np.median(values[-third:]) / np.median(values[:third]) - 1)
