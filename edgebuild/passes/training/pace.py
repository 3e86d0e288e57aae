"""How long a training takes, and how fast weights change on the way."""

from __future__ import annotations

import math
import time

from edgebuild.stats import median

_RISE = 0.05  # of the steps, until the learning rate is at its highest
# Steps by which the speed is known: the first ones trace the graph, and an odd batch traces it again.
_TIMED_FROM, _TIMED_TO = 3, 13


class Pace:
    """The steps of one training, fewer where the machine is too slow for all of them.

    Args:
        steps: at most.
        time_s: likewise, from when the graph is traced.
        learning_rate: the highest.
    """

    def __init__(self, steps: int, time_s: float, learning_rate: float) -> None:
        self.steps = self.asked = steps
        self._time_s, self._highest = time_s, learning_rate
        self._started = self._step_started = time.monotonic()
        self._ends_at = math.inf
        self._times_s: list[float] = []

    def rate(self, step: int) -> float:
        """The learning rate of a step: a linear rise, then half a cosine (Loshchilov and Hutter 2017, SGDR, eq. 5)."""
        rise = max(1, round(_RISE * self.steps))
        if step < rise:
            return self._highest * (step + 1) / rise
        return self._highest * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))

    def begin(self, step: int) -> None:
        """A step begins."""
        self._step_started = time.monotonic()
        if step == _TIMED_FROM:
            self._ends_at = self._step_started + self._time_s
        if step == _TIMED_TO:
            self._shorten(step)

    def end(self) -> None:
        """The step is done."""
        self._times_s.append(time.monotonic() - self._step_started)

    def is_last(self, step: int) -> bool:
        """Whether nothing comes after a step."""
        return step + 1 >= self.steps or time.monotonic() >= self._ends_at

    def left_s(self, step: int) -> float:
        """The time that what comes after a step will take."""
        now = time.monotonic()
        return max(0.0, min((now - self._started) / (step + 1) * (self.steps - step - 1), self._ends_at - now))

    def _shorten(self, step: int) -> None:
        """Plan only what there is time for, so that the learning rate still falls to its end."""
        fitting = step + max(1, int((self._ends_at - time.monotonic()) / max(median(self._times_s), 1e-9)))
        self.steps = min(self.steps, fitting)
