"""One training: seeded batches, the best epoch kept, an end when nothing gets better."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import tf_keras

from edgebuild.child import Say
from edgebuild.passes.training.hooks import Hooks
from edgebuild.passes.training.learning import Learning
from edgebuild.passes.training.lesson import Lesson
from edgebuild.passes.training.pace import Pace
from edgebuild.units import format_seconds

_MOST_VALIDATIONS = 50


class Best(NamedTuple):
    """The weights with the least validation loss so far."""

    loss: float
    weights: list[Any]


class Outcome(NamedTuple):
    """Validation losses at the start of a training and of the weights that it left, and how many steps it took."""

    start: float
    end: float
    steps: int

    @property
    def is_better(self) -> bool:
        """Whether the training was worth anything; one that begins with no numbers is, if it ends with some."""
        return self.end < self.start if math.isfinite(self.start) else math.isfinite(self.end)


def between_comparisons(lesson: Lesson, steps: int) -> int:
    """After how many steps a training of so many is compared with its best: an epoch, or more of short ones."""
    return max(lesson.data.steps_per_epoch, steps // _MOST_VALIDATIONS)


class Loop:
    """One training of one model.

    Args:
        lesson: what is learnt from.
        learning: the model, and what is traced to train it.
        hooks: what is done around each step.
        pace: how long.
        say: is told how it gets on.
    """

    def __init__(self, lesson: Lesson, learning: Learning, hooks: Hooks, pace: Pace, say: Say) -> None:
        self._lesson, self._learning = lesson, learning
        self._hooks, self._pace, self._say = hooks, pace, say
        self._between = between_comparisons(lesson, pace.asked)
        self._best: Best | None = None
        self._waited = 0  # comparisons without a better one

    def run(self) -> Outcome:
        """Train in place; afterwards the model has the weights of its best epoch, statistics and all."""
        tf_keras.utils.set_random_seed(self._lesson.seed)
        self._learning.begin()
        start = Best(self._learning.validation_loss(), self._learning.weights())
        if not self._hooks.settled_from and not self._hooks.from_scratch:
            # Training never leaves a network worse than it was, unless it is changed meanwhile by design.
            self._best = start
        for step, (rows, x) in enumerate(self._lesson.data.shuffled()):
            self._pace.begin(step)
            self._hooks.before_step(self._pace.done(step))
            self._learning.step(rows, x, self._pace.rate(step))
            self._hooks.after_step(self._pace.done(step + 1))
            is_last = self._pace.is_last(step)
            if is_last or (step + 1) % self._between == 0:
                self._compare(step, is_last=is_last)
            if is_last or self._is_hopeless():
                break
        assert self._best is not None, "the last step is compared"
        self._learning.set_weights(self._best.weights)
        self._learning.refresh()
        return Outcome(start.loss, self._best.loss, step + 1)

    def _compare(self, step: int, *, is_last: bool) -> None:
        """Keep the weights if they are the best so far."""
        started, done = time.monotonic(), self._pace.done(step + 1)
        settled = is_last or done >= self._hooks.settled_from
        loss, best = self._learning.validation_loss(), self._best
        better = best is None or not math.isfinite(best.loss) or loss < best.loss
        if settled and better:
            self._best = Best(loss, self._learning.weights())
        # The learning rate has to fall before it can be told that nothing gets better.
        self._waited = self._waited + 1 if settled and done >= 0.5 and not better else 0
        self._pace.compared(step, time.monotonic() - started)
        left = format_seconds(self._pace.left_s(step))
        self._say(f"step {step + 1:,} of {self._pace.steps:,}, validation loss {loss:.4f}, {left} left")

    def _is_hopeless(self) -> bool:
        """Whether nothing got better for as long as the settings have patience."""
        patience = self._lesson.train.patience
        rounds = math.ceil(patience * self._lesson.data.steps_per_epoch / self._between)
        return bool(patience) and self._waited >= rounds
