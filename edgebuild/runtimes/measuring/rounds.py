"""Rounds of fresh processes, their blocks in turn, as many as it takes to know an artifact's cost well enough."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from edgebuild.actions.measuring import Timing
from edgebuild.child import Say
from edgebuild.core.budget import Subject
from edgebuild.core.settings import BenchSettings
from edgebuild.errors import StepError
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded, Place, Worker
from edgebuild.timing import comparing, intervals, pacing
from edgebuild.timing.conditions import BlockRecord, conditions
from edgebuild.timing.intervals import Interval, Processes, describe, half_width, intervals as intervals_of
from edgebuild.timing.pacing import MOST_BLOCKS, is_enough, is_steady
from edgebuild.units import format_seconds

# Instructions are counted: the same again and again, whatever the machine does.
_COUNTED_BLOCKS = 3
_COUNTED_SAMPLES = 2 * _COUNTED_BLOCKS
# Of the time that a round has, warming up may take so much.
_WARMING = 0.2
# A block of fewer samples keeps all of them.
_FEWEST_SETTLED = 4
T = TypeVar("T")


class Aim(NamedTuple):
    """How well a cost is to be known.

    Attributes:
        bench: for how long, and how precisely.
        decide_at: values that are to be told from the median, or with a baseline from the ratio.
    """

    bench: BenchSettings
    decide_at: tuple[float, ...] = ()


class Loop:
    """Measures an artifact at a place, in turn with a baseline where there is one.

    Args:
        place: where.
        artifacts: the artifact, and behind it the baseline where there is one.
        how: they are run.
        aim: how long, and how well.
        say: is told of progress.
    """

    def __init__(self, place: Place, artifacts: Sequence[Path], how: How, aim: Aim, say: Say) -> None:
        self._place = place
        self._artifacts = artifacts
        self._how = how
        self._bench, self._decide_at = aim
        self._say = say
        self._is_counted = place.subject == Subject.INSTRUCTIONS
        self._rounds: list[list[Ran]] = []
        self._left = aim.bench.runs
        self._interval: Interval | None = None

    def run(self) -> list[list[Ran]]:
        """Measure.

        Returns:
            For each artifact what its processes told, one of each round.

        Raises:
            UnavailableError: the place is not there.
            StepError: the artifact's process failed.
            BaselineError: the baseline's did.
        """
        ends_at = time.monotonic() + self._bench.time
        last_s = 0.0
        while not self._rounds or self._goes_on(ends_at - time.monotonic(), last_s):
            began = time.monotonic()
            self._rounds.append(_run_round(self._place, self._artifacts, self._how, self._next(ends_at)))
            last_s = time.monotonic() - began
            self._look()
        return [list(rans) for rans in zip(*self._rounds, strict=True)]

    def shortcomings(self) -> tuple[str, ...]:
        """In what the measurement remained behind what was asked for, in sentences for people; once it was run."""
        if self._is_counted:
            return ()
        found = []
        processes, wanted = len(self._rounds), self._bench.workers
        if processes < wanted:
            is_late = self._left > 0
            ended = f"{format_seconds(self._bench.time)} were over" if is_late else f"{self._bench.runs} runs were done"
            found.append(f"short: {ended} after {processes} of {wanted} processes")
        if self._interval is None or half_width(self._interval) > self._bench.precision:
            of = "median" if len(self._artifacts) == 1 else "ratio"
            known = f"the {of} is known to +-{half_width(self._interval):.1%}" if self._interval else "too few blocks"
            found.append(f"imprecise: {known}, and +-{self._bench.precision:.1%} were asked for")
        if self._how.pin and self._how.threads == 1 and any(ran.loaded.core is None for ran in self._rounds[-1]):
            found.append("not pinned: the process was not held on one core")
        return tuple(found)

    def _goes_on(self, left_s: float, last_s: float) -> bool:
        """Whether another round is needed, and can be had: half of it fits into what is left of the time."""
        if self._is_counted or self._left <= 0 or left_s < last_s / 2:
            return False
        return len(self._rounds) < self._bench.workers or not self._is_enough()

    def _is_enough(self) -> bool:
        return is_enough(self._interval, self._bench.precision, self._decide_at)

    def _next(self, ends_at: float) -> _Round:
        now = time.monotonic()
        # What is left is divided among the processes that there should be at least.
        parts = max(1, self._bench.workers - len(self._rounds))
        return _Round(
            ends_at=now + (ends_at - now) / (1 if self._is_counted else parts),
            blocks=_COUNTED_BLOCKS if self._is_counted else MOST_BLOCKS,
            samples=_COUNTED_SAMPLES if self._is_counted else math.ceil(self._left / parts),
            warms_up=not self._is_counted,
            is_turned=len(self._rounds) % 2 == 1,
        )

    def _look(self) -> None:
        """See what is known by now."""
        sides = [samples_of(rans) for rans in zip(*self._rounds, strict=True)]
        self._left = self._bench.runs - sum(len(block) for process in sides[0] for block in process)
        if len(sides) == 1:
            self._interval = intervals.of_median(sides[0])
        else:
            ratio = comparing.of_medians(sides[0], sides[1])
            self._interval = ratio.interval if ratio else None
        done, wanted = len(self._rounds), self._bench.workers
        width = f", +-{half_width(self._interval):.1%}" if self._interval and done >= wanted else ""
        if not self._is_counted:
            self._say(f"{done} of {max(done, wanted)} processes{width}")


class _Round(NamedTuple):
    """How a round is run.

    Attributes:
        ends_at: of time.monotonic(); no block is begun later, once there are two of each artifact, or one of a single.
        blocks: at most so many of each artifact.
        samples: at most so many of each artifact, all blocks together.
        warms_up: whether the first inferences cost more than later ones by anything but the very first.
        is_turned: whether the last artifact is started, and runs, before the first.
    """

    ends_at: float
    blocks: int
    samples: int
    warms_up: bool
    is_turned: bool


class Ran(NamedTuple):
    """What a process told, from its start to its end."""

    loaded: Loaded
    blocks: tuple[Block, ...]
    closing: Closing


class BaselineError(Exception):
    """The baseline's process failed, not the artifact's; `error` says how."""

    def __init__(self, error: StepError) -> None:
        super().__init__(str(error))
        self.error = error


def _run_round(place: Place, artifacts: Sequence[Path], how: How, asked: _Round) -> list[Ran]:
    """Run one round.

    Args:
        place: where.
        artifacts: the artifact, and behind it the baseline where there is one.
        how: they are run.
        asked: how long.

    Returns:
        For each artifact what its process told; blocks of the same position ran next to one another.

    Raises:
        UnavailableError: the place is not there.
        StepError: the artifact's process failed.
        BaselineError: the baseline's did.
    """
    order = list(range(len(artifacts)))[:: -1 if asked.is_turned else 1]
    with contextlib.ExitStack() as resources:
        workers: dict[int, Worker] = {}
        for side in order:
            with _of(side):
                workers[side] = place.start(artifacts[side], how)
            resources.callback(_close_quietly, workers[side])
        costs = _warmed_up(workers, asked)
        blocks = _blocks(workers, order, pacing.block_s(max(costs)), asked)
        rans = []
        for side in sorted(workers):
            with _of(side):
                rans.append(Ran(workers[side].loaded, tuple(blocks[side]), workers[side].close()))
        return rans


def settled(block: Block) -> tuple[float, ...]:
    """A block's samples without the first, which finds caches that others have filled, where there are several."""
    return block.samples[1:] if len(block.samples) >= _FEWEST_SETTLED else block.samples


def _warmed_up(workers: dict[int, Worker], asked: _Round) -> list[float]:
    """What an inference of each costs once it has become no faster for a while, or the time for that is over."""
    now = time.monotonic()
    share_s = (asked.ends_at - now) * _WARMING / len(workers)
    return [_warm_up(side, worker, share_s if asked.warms_up else 0.0) for side, worker in workers.items()]


def _warm_up(side: int, worker: Worker, share_s: float) -> float:
    cost = worker.loaded.first or 0.0
    medians: list[float] = []
    end = time.monotonic() + share_s
    # An inference longer than the time for warming up is left to the blocks.
    while cost < share_s and time.monotonic() < end and not is_steady(medians):
        with _of(side):
            block = worker.block(time_s=pacing.block_s(cost), most=pacing.MOST_SAMPLES)
        cost = float(np.median(settled(block)))
        medians.append(cost)
    return cost


def _blocks(workers: dict[int, Worker], order: list[int], block_s: float, asked: _Round) -> dict[int, list[Block]]:
    """Blocks in turn: A B, B A, A B, ..., always an even number of pairs but where there is one artifact alone."""
    blocks: dict[int, list[Block]] = {side: [] for side in workers}
    left = asked.samples
    at_once = min(len(workers), 2)
    while left > 0 and len(blocks[0]) < asked.blocks and (not blocks[0] or time.monotonic() < asked.ends_at):
        for _ in range(at_once):
            most = min(pacing.MOST_SAMPLES, max(1, left))
            for side in order:
                with _of(side):
                    blocks[side].append(workers[side].block(time_s=block_s, most=most))
            order = order[::-1]
            left -= max(len(settled(made[-1])) for made in blocks.values())
    return blocks


@contextlib.contextmanager
def _of(side: int) -> Iterator[None]:
    """Around the work of one artifact's process."""
    try:
        yield
    except StepError as error:
        if side:
            raise BaselineError(error) from error
        raise


def _close_quietly(worker: Worker) -> None:
    """Close a worker that may be closed already, while an error is on its way that says more than this one's."""
    with contextlib.suppress(StepError):
        worker.close()


def samples_of(rans: Iterable[Ran]) -> Processes:
    """Samples by process and block."""
    return [[np.asarray(settled(block), np.float64) for block in ran.blocks] for ran in rans]


def timing(rans: Sequence[Ran], subject: Subject, notes: Iterable[str]) -> Timing:
    """What was measured of one artifact.

    Args:
        rans: its processes, at least one.
        subject: what its samples are.
        notes: what is to be said beside what the blocks tell of the machine.
    """
    processes = samples_of(rans)
    loaded = rans[-1].loaded
    # What slows a machine down changes no count.
    is_timed = subject == Subject.LATENCY
    records = [_record(ran, position) for ran in rans for position in range(len(ran.blocks)) if is_timed]
    peaks = (ran.closing.peak_memory_bytes for ran in rans)
    return Timing(
        subject=subject,
        machine=loaded.machine,
        kernels=loaded.kernels,
        versions=loaded.versions,
        blocks=tuple(tuple(block.tolist()) for process in processes for block in process),
        processes=tuple(len(process) for process in processes),
        statistics=of_inferences(describe(np.concatenate([block for run in processes for block in run])), loaded),
        intervals=of_inferences(intervals_of(processes), loaded),
        load=tuple(ran.loaded.load for ran in rans if ran.loaded.load is not None),
        first=tuple(ran.loaded.first for ran in rans if ran.loaded.first is not None),
        peak_memory_bytes=tuple(peak for peak in peaks if peak is not None),
        energy_j=_energy_j(rans),
        conditions=(*notes, *([f"each sample is {loaded.sample}"] if loaded.sample else []), *conditions(records)),
    )


def of_inferences(figures: dict[str, T], loaded: Loaded) -> dict[str, T]:
    """The figures that tell of inferences: where each sample stands for a run of them there are no percentiles."""
    return {name: figure for name, figure in figures.items() if not (loaded.sample and name.startswith("p"))}


def _record(ran: Ran, position: int) -> BlockRecord:
    block = ran.blocks[position]
    return BlockRecord(
        cost=float(np.median(settled(block))),
        wall_s=block.wall_s,
        cpu_s=block.cpu_s,
        preempted=block.preempted,
        probe_s=block.probe_s,
    )


def _energy_j(rans: Sequence[Ran]) -> float | None:
    """Of one inference; whatever else the device did in that time is in it."""
    told = [(block.energy_j, len(block.samples)) for ran in rans for block in ran.blocks if block.energy_j is not None]
    return sum(energy for energy, _ in told) / sum(count for _, count in told) if told else None
