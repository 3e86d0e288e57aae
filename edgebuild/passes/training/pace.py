"""How long a training takes, and how fast weights change on the way."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import NamedTuple

from edgebuild.stats import median

_RISE = 0.05  # of the steps, until the learning rate is at its highest
# The first step traces the graph; by so many the speed is known, and looked at again after as many as these.
_TIMED_TO, _TIMED_AGAIN = 9, 32
_LAST_TIMES = 101  # the machine may be faster or slower than it was


class Speed(NamedTuple):
    """What a training takes, in seconds; 0 for not known.

    Attributes:
        step_s: a step of the optimizer.
        comparison_s: a comparison on the validation part.
        first_s: all until the second step begins: what is traced is traced by then.
    """

    step_s: float = 0.0
    comparison_s: float = 0.0
    first_s: float = 0.0


_UNKNOWN = Speed()


class Pace:
    """The steps of one training: as many as are asked for, or as there is time for at the speed that is measured.

    Args:
        steps: at most.
        time_s: for all of it from now on, tracing and comparing too.
        learning_rate: the highest.
        between: steps from one comparison to the next.
        speed: as it is expected, from a training before.
    """

    def __init__(
        self, steps: int, time_s: float, learning_rate: float, between: int = 0, speed: Speed = _UNKNOWN
    ) -> None:
        self.asked = steps
        self._highest, self._between = learning_rate, between or steps
        self._started = time.monotonic()
        self._ends_at = self._started + time_s
        self._begun: float | None = None  # when the step before did, unless something came between
        self._times_s: deque[float] = deque(maxlen=_LAST_TIMES)
        self.speed = speed
        self.steps = steps
        self.is_short_of_time = False
        self._plan(0)

    def rate(self, step: int) -> float:
        """The learning rate of a step: a linear rise, then half a cosine (Loshchilov and Hutter 2017, SGDR, eq. 5)."""
        rise = max(1, round(_RISE * self.steps))
        if step < rise:
            return self._highest * (step + 1) / rise
        share = min(1.0, (step - rise) / max(1, self.steps - rise))
        return self._highest * 0.5 * (1 + math.cos(math.pi * share))

    def begin(self, step: int) -> None:
        """A step begins."""
        now = time.monotonic()
        if step == 1:
            self.speed = self.speed._replace(first_s=now - self._started)
        elif self._begun is not None:
            self._times_s.append(now - self._begun)
        self._begun = now
        if step == _TIMED_TO or (step and step % _TIMED_AGAIN == 0):
            self._plan(step)

    def compared(self, step: int, took_s: float) -> None:
        """The network was compared with the best one after a step."""
        self.speed = self.speed._replace(comparison_s=took_s)
        self._begun = None
        self._plan(step + 1)

    def is_last(self, step: int) -> bool:
        """Whether nothing comes after a step but the last comparison."""
        is_over = time.monotonic() + self.speed.comparison_s >= self._ends_at
        is_last = is_over or step + 1 >= self.steps
        self.is_short_of_time = is_last and step + 1 < self.asked
        return is_last

    def done(self, step: int) -> float:
        """The share of the training that is done before a step."""
        return min(1.0, step / self.steps)

    def left_s(self, step: int) -> float:
        """The time that what comes after a step will take."""
        return max(0.0, min(self._cost_s(self.steps - step - 1), self._ends_at - time.monotonic()))

    def _cost_s(self, steps: int) -> float:
        return steps * (self.speed.step_s + self.speed.comparison_s / self._between)

    def _plan(self, step: int) -> None:
        """As many steps as there is time for, so that the learning rate falls to its end."""
        if self._times_s:
            self.speed = self.speed._replace(step_s=max(median(self._times_s), 1e-9))
        if self.speed.step_s:
            left_s = self._ends_at - time.monotonic() - self.speed.comparison_s
            self.steps = max(step + 1, min(self.asked, step + int(left_s / self._cost_s(1))))
