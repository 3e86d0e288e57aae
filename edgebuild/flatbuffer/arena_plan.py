"""The block of memory that holds a graph's activations: the order of operators and the places that take least of it.

Any order in which operators follow those whose results they read computes the same; what differs is how long results
wait for their readers. What has been run is a set closed under predecessors, and what is alive after it depends on the
set alone, not on the order: the best order is the path of smallest peak through these sets, as in Liberis and Lane,
"Neural networks on microcontrollers: saving memory at inference via operator reordering" (arXiv:1910.05110, section 3).
They tabulate all sets; here the sets are visited by rising peak (Dijkstra's algorithm with the maximum for the sum),
and an operator after which no more is alive than before is run at once where that does not raise the peak.

This is dynamic storage allocation, which is NP-hard. TFLM places the largest first, each at the lowest place that is
free over its whole life. An order of placing in which that rule gives the smallest block always exists (take an optimal
plan and place by rising offset), so the search here is for an order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Each set is asked of every operator whether it could come next: about 2 million such questions a second.
MOST_QUESTIONS = 4_000_000
_BEAM_WIDTH = 32
# A placing of n buffers compares n²/2 pairs: a second or so for a hundred buffers.
MOST_PLACEMENTS = 20_000
_ROUNDS = 300


class Step(NamedTuple):
    """An operator: the activations that it reads and writes, by number."""

    reads: frozenset[int]
    writes: frozenset[int]


class Problem(NamedTuple):
    """What is to be ordered.

    Attributes:
        steps: the operators in the order given, each tensor written by at most one of them.
        sizes_bytes: of every activation.
        inputs: activations that are there from the start, until they have been read for the last time.
        outputs: activations that are kept to the end.
    """

    steps: tuple[Step, ...]
    sizes_bytes: Mapping[int, int]
    inputs: frozenset[int]
    outputs: frozenset[int]


def peak_bytes(problem: Problem, order: Sequence[int]) -> int:
    """The bytes alive at the fullest moment of an order; nothing is computed in place."""
    search = _Search(problem)
    found = search.start
    for step in order:
        found = search.after(found, step)
    return found.peak_bytes


def best_order(problem: Problem, most_questions: int = MOST_QUESTIONS) -> tuple[int, ...]:
    """An order of smallest peak, as positions in the order given; that one where none is better.

    Args:
        problem: what is to be ordered.
        most_questions: bounds the work, see MOST_QUESTIONS; where that does not suffice the order comes from a beam
            search of a few times as much, which may miss the best and is never worse than the order given.
    """
    search = _Search(problem)
    given = tuple(range(len(problem.steps)))
    given_bytes = peak_bytes(problem, given)
    if given_bytes <= search.least_bytes:
        return given
    sets = most_questions // len(problem.steps)
    width = min(_BEAM_WIDTH, 4 * sets // len(problem.steps))
    found = search.exact(given_bytes, sets) or search.beam(given_bytes, width)
    return found.order if found is not None else given


class _Found(NamedTuple):
    """How some operators were run: as a set of bits, with what is alive after them and was at most before."""

    done: int
    alive_bytes: int
    peak_bytes: int
    order: tuple[int, ...]


class _Search:
    """Sets of operators and what they leave alive."""

    def __init__(self, problem: Problem) -> None:
        self._steps = problem.steps
        self._sizes = problem.sizes_bytes
        writers = {tensor: number for number, step in enumerate(self._steps) for tensor in step.writes}
        self._needs = [_bits(writers[tensor] for tensor in step.reads if tensor in writers) for step in self._steps]
        tensors = problem.inputs.union(*(step.reads | step.writes for step in self._steps))
        self._readers = {
            tensor: _bits(number for number, step in enumerate(self._steps) if tensor in step.reads)
            for tensor in tensors - problem.outputs
        }
        self._all = (1 << len(self._steps)) - 1
        there_bytes = sum(self._sizes[tensor] for tensor in problem.inputs)
        self.start = _Found(0, there_bytes, there_bytes, ())

    @property
    def least_bytes(self) -> int:
        """What no order can do without: what is there at the start, or one operator's own tensors."""
        own = (sum(self._sizes[tensor] for tensor in step.reads | step.writes) for step in self._steps)
        return max(self.start.peak_bytes, *own)

    def after(self, found: _Found, number: int) -> _Found:
        """What is found when one operator more is run."""
        step, done = self._steps[number], found.done | 1 << number
        full_bytes = found.alive_bytes + sum(self._sizes[tensor] for tensor in step.writes)
        freed = (tensor for tensor in step.reads | step.writes if self._is_read_by(tensor, done))
        alive_bytes = full_bytes - sum(self._sizes[tensor] for tensor in freed)
        return _Found(done, alive_bytes, max(found.peak_bytes, full_bytes), (*found.order, number))

    def exact(self, below_bytes: int, most_sets: int) -> _Found | None:
        """The order of smallest peak if that is below a limit and is found within so many sets."""
        waiting = [(self.start.peak_bytes, 0, self.start)]
        seen: set[int] = set()
        while waiting and len(seen) < most_sets:
            _, _, found = heapq.heappop(waiting)
            if found.done == self._all:
                return found
            if found.done in seen:
                continue
            seen.add(found.done)
            for grown in self._grown(found):
                if grown.peak_bytes < below_bytes and grown.done not in seen:
                    heapq.heappush(waiting, (grown.peak_bytes, -len(grown.order), grown))
        return None

    def beam(self, below_bytes: int, width: int) -> _Found | None:
        """An order of small peak, if one below a limit is found: of the sets of each size only the best go on."""
        best = [self.start] if width else []
        while best and best[0].done != self._all:
            grown: dict[int, _Found] = {}
            for after in (after for found in best for after in self._steps_after(found)):
                if after.peak_bytes < below_bytes and _by_bytes(after) <= _by_bytes(grown.get(after.done, after)):
                    grown[after.done] = after
            best = sorted(grown.values(), key=_by_bytes)[:width]
        return best[0] if best else None

    def _grown(self, found: _Found) -> Iterator[_Found]:
        """All that can follow; one alone where running it now can do no harm.

        An operator that leaves no more alive than before leaves no more alive after any later set either: to run it
        earlier raises no peak but its own.
        """
        nexts = list(self._steps_after(found))
        for after in nexts:
            if after.alive_bytes <= found.alive_bytes and after.peak_bytes == found.peak_bytes:
                yield after
                return
        yield from nexts

    def _steps_after(self, found: _Found) -> Iterator[_Found]:
        for number, needs in enumerate(self._needs):
            if not found.done >> number & 1 and needs & ~found.done == 0:
                yield self.after(found, number)

    def _is_read_by(self, tensor: int, done: int) -> bool:
        """Whether all that read a tensor have been run, and nobody keeps it."""
        return tensor in self._readers and self._readers[tensor] & ~done == 0


def _by_bytes(found: _Found) -> tuple[int, int, tuple[int, ...]]:
    return found.peak_bytes, found.alive_bytes, found.order


def _bits(numbers: Iterable[int]) -> int:
    found = 0
    for number in numbers:
        found |= 1 << number
    return found


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


def best_places(buffers: Sequence[Buffer], rounds: int = _ROUNDS) -> tuple[int, ...]:
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
