"""One round: a fresh process for each artifact, warmed up, their blocks in turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgebuild.errors import StepError
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded, Place, Worker
from edgebuild.timing import pacing
from edgebuild.timing.steadiness import is_steady

# Of the time that a round has, warming up may take so much.
_WARMING = 0.2
# A block of fewer samples keeps all of them.
_FEWEST_SETTLED = 4


class Round(NamedTuple):
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


def run_round(place: Place, artifacts: Sequence[Path], how: How, asked: Round) -> list[Ran]:
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


def _warmed_up(workers: dict[int, Worker], asked: Round) -> list[float]:
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


def _blocks(workers: dict[int, Worker], order: list[int], block_s: float, asked: Round) -> dict[int, list[Block]]:
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
