"""One training: what it learns from, how a pass takes part in it, its steps, and the end when nothing gets better.

Tracing takes as long as a hundred steps: trainings of one model share it, and each begins with an optimizer that knows
nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
import tf_keras

from edgebuild.actions.compression import Unseen
from edgebuild.child import Say
from edgebuild.core.metric import Metric
from edgebuild.core.settings import DistillSettings, TrainSettings
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.training.data import ENOUGH_ROWS, Batchwise, Rows, TrainData
from edgebuild.passes.training.objective import Objective
from edgebuild.passes.training.pace import Pace
from edgebuild.passes.training.statistics import BatchNorms
from edgebuild.passes.training.teachers import Teacher
from edgebuild.units import format_seconds

_MOST_VALIDATIONS = 50


class Lesson(NamedTuple):
    """All that trainings of one target share.

    `time_s` is for all of them together, from `started` (of time.monotonic) on; `unseen` is how the original does on
    evaluation samples; `original` is the network before compression, which others are like where there are no labels.
    """

    data: TrainData
    teachers: Sequence[Teacher]
    train: TrainSettings
    distill: DistillSettings
    metric: Metric
    time_s: float
    seed: int
    unseen: Unseen | None = None
    started: float = 0.0
    original: Graph | None = None


def _nothing(_: float) -> None:
    """Leaves the network as it is."""


class Hooks(NamedTuple):
    """What is called around the steps of an optimizer.

    Each is given the share of the training that is done: the number of steps is known only once their speed is.

    Attributes:
        before_step: before the gradients are taken.
        after_step: after the weights were changed.
        settled_from: the share of the training after which the network has what the pass is for (all its zeros, say):
            the best epoch is chosen from those that end later.
        from_scratch: whether the network knows nothing yet: then its start is no epoch that may be chosen.
    """

    before_step: Callable[[float], None] = _nothing
    after_step: Callable[[float], None] = _nothing
    settled_from: float = 0.0
    from_scratch: bool = False


class Fit(Protocol):
    """A training, as the passes see it: data, teachers and settings are in it already."""

    def __call__(self, model: Any, *, hooks: Hooks = ..., part: float = ...) -> None:
        """Train a tf_keras model in place; `part` is the share of all the time or epochs that it takes."""


class Learning:
    """A model, and what is asked for of it.

    Args:
        lesson: what is learnt from.
        model: a tf_keras model.
        objective: its loss.
    """

    def __init__(self, lesson: Lesson, model: Any, objective: Objective) -> None:
        self.model = model
        self._data, self._objective = lesson.data, objective
        self._outside = [teacher for teacher in lesson.teachers if teacher.in_graph is None]
        self._rate = tf.Variable(lesson.train.learning_rate, dtype=tf.float32)
        # Its one operator for each weight is traced in a third of the time that the dozen of tf_keras's newer one take.
        self._optimizer = tf_keras.optimizers.legacy.Adam(lambda: self._rate)
        self._step = Batchwise(self._learn)
        self._loss = Batchwise(lambda x, y, outside: objective.loss(x, y, outside, training=False))
        self._norms = BatchNorms.of(model)

    def begin(self) -> None:
        """Forget what earlier trainings left in the optimizer."""
        for variable in self._optimizer.variables():
            variable.assign(tf.zeros_like(variable))

    def step(self, rows: Rows, x: list[Any], rate: float) -> None:
        """One step of the optimizer, on rows of the train split and their samples, at a learning rate."""
        self._rate.assign(rate)
        self._step(*self._batch(rows, x))

    def validation_loss(self) -> float:
        """The mean over the validation part, with batch norms that are near enough to compare by."""
        self.refresh(ENOUGH_ROWS)
        data = self._data
        found = [(len(rows), float(self._loss(*self._batch(rows, x)))) for rows, x in data.in_order(data.validation)]
        return sum(count * loss for count, loss in found) / len(data.validation)

    def refresh(self, rows: int | None = None) -> None:
        """Give the batch norms current statistics, of so many rows at most; of all that are of use where None."""
        self._norms.bring_up_to_date(self._data.sample(rows))

    def weights(self) -> list[Any]:
        """A copy of all that training changes, statistics and all."""
        return [variable.numpy() for variable in self.model.variables]

    def set_weights(self, weights: list[Any]) -> None:
        """Take over what `weights` returned."""
        for variable, value in zip(self.model.variables, weights, strict=True):
            variable.assign(value)

    def _learn(self, x: Any, y: Any, outside: Any) -> None:
        with tf.GradientTape() as tape:
            loss = self._objective.loss(x, y, outside, training=True)
        variables = self._objective.variables
        gradients = tape.gradient(loss, variables)
        pairs = [(gradient, v) for gradient, v in zip(gradients, variables, strict=True) if gradient is not None]
        self._optimizer.apply_gradients(pairs)

    def _batch(self, rows: Rows, x: list[Any]) -> tuple[Any, Any, Any]:
        y = self._data.taught(rows)
        outside = [[tf.constant(answer) for answer in teacher.answers(rows, x)] for teacher in self._outside]
        return [tf.constant(array) for array in x], None if y is None else tf.constant(y), outside


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
