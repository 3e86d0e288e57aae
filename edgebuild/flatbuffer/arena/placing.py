"""Places for buffers that share one block of memory, so that those alive at the same time do not overlap.

This is dynamic storage allocation, which is NP-hard. TFLM places the largest first, each at the lowest place that is
free over its whole life. An order of placing in which that rule gives the smallest block always exists (take an optimal
plan and place by rising offset), so the search here is for an order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# A placing of n buffers compares n²/2 pairs: a second or so for a hundred buffers.
MOST_PLACEMENTS = 20_000
_ROUNDS = 300


class Buffer(NamedTuple):
    """So many bytes, in use from one moment to another, both included."""

    size_bytes: int
    first: int
    last: int


def needed_bytes(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """The size of the block that placed buffers take."""
    return max((offset + buffer.size_bytes for buffer, offset in zip(buffers, offsets, strict=True)), default=0)


def least_bytes(buffers: Sequence[Buffer]) -> int:
    """What no plan can do without: the bytes in use at the fullest moment."""
    moments = {buffer.first for buffer in buffers}
    return max((sum(b.size_bytes for b in buffers if b.first <= moment <= b.last) for moment in moments), default=0)


def greedy(buffers: Sequence[Buffer]) -> tuple[int, ...]:
    """The offsets that TFLM's GreedyMemoryPlanner gives: it places by falling size, of equals the last first."""
    order = sorted(range(len(buffers)), key=lambda number: (-buffers[number].size_bytes, -number))
    return place(buffers, order)


def place(buffers: Sequence[Buffer], order: Sequence[int]) -> tuple[int, ...]:
    """Offsets where each buffer, in an order, takes the lowest gap that is free over its whole life."""
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for number in order:
        offsets[number] = _lowest_gap(buffers, offsets, placed, buffers[number])
        placed.append(number)
    return tuple(offsets)


def best(buffers: Sequence[Buffer], rounds: int = _ROUNDS) -> tuple[int, ...]:
    """The offsets of the smallest block found: never larger than the greedy planner's, and often the least possible.

    It starts from several orders and then improves on the best: what lies at the block's end is placed earlier.

    Args:
        buffers: to be placed.
        rounds: how often to try to improve.
    """
    numbers = range(len(buffers))
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda number: (-buffers[number].size_bytes, -number),
        lambda number: (-buffers[number].size_bytes * (buffers[number].last - buffers[number].first + 1), number),
        lambda number: (buffers[number].first, -buffers[number].size_bytes),
        lambda number: (-buffers[number].last, -buffers[number].size_bytes),
    )
    orders = [sorted(numbers, key=key) for key in keys]
    order = min(orders, key=lambda order: needed_bytes(buffers, place(buffers, order)))
    return _improved(buffers, order, least_bytes(buffers), rounds)


def _improved(buffers: Sequence[Buffer], order: list[int], least: int, rounds: int) -> tuple[int, ...]:
    """Place a buffer that reaches the end of the block earlier, at random, and keep what makes the block no larger."""
    rng = np.random.default_rng(0)
    offsets = place(buffers, order)
    size = needed_bytes(buffers, offsets)
    for _ in range(rounds):
        if size == least:
            break
        topmost = [number for number in order if offsets[number] + buffers[number].size_bytes == size]
        moved = topmost[int(rng.integers(len(topmost)))]
        tried = [number for number in order if number != moved]
        tried.insert(int(rng.integers(order.index(moved) + 1)), moved)
        tried_offsets = place(buffers, tried)
        if needed_bytes(buffers, tried_offsets) <= size:
            order, offsets = tried, tried_offsets
            size = needed_bytes(buffers, offsets)
    return offsets


def _lowest_gap(buffers: Sequence[Buffer], offsets: Sequence[int], placed: Sequence[int], wanted: Buffer) -> int:
    """The lowest offset at which nothing that is in use at the same time lies."""
    taken = sorted(
        (offsets[number], offsets[number] + buffers[number].size_bytes)
        for number in placed
        if buffers[number].first <= wanted.last and wanted.first <= buffers[number].last
    )
    offset = 0
    for start, end in taken:
        if start - offset >= wanted.size_bytes:
            break
        offset = max(offset, end)
    return offset
