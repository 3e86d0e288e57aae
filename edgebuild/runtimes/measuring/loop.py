"""Rounds of fresh processes, as many as it takes to know an artifact's cost well enough, or as there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgebuild.child import Say
from edgebuild.core.budget import Subject
from edgebuild.core.settings import BenchSettings
from edgebuild.runtimes.measuring.rounds import Ran, Round, run_round
from edgebuild.runtimes.measuring.summary import samples_of
from edgebuild.runtimes.places.protocol import How, Place
from edgebuild.timing import comparing, intervals
from edgebuild.timing.intervals import Interval, half_width
from edgebuild.timing.pacing import MOST_BLOCKS, is_enough
from edgebuild.units import format_seconds

# Instructions are counted: the same again and again, whatever the machine does.
_COUNTED_BLOCKS = 3
_COUNTED_SAMPLES = 2 * _COUNTED_BLOCKS


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
            self._rounds.append(run_round(self._place, self._artifacts, self._how, self._next(ends_at)))
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

    def _next(self, ends_at: float) -> Round:
        now = time.monotonic()
        # What is left is divided among the processes that there should be at least.
        parts = max(1, self._bench.workers - len(self._rounds))
        return Round(
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
