"""One training: seeded batches, the best epoch kept, an end when nothing gets better."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from edgebuild.child import Say
from edgebuild.passes.training.data import Rows
from edgebuild.passes.training.hooks import Hooks
from edgebuild.passes.training.lesson import Lesson
from edgebuild.passes.training.objective import Objective
from edgebuild.passes.training.pace import Pace
from edgebuild.passes.training.statistics import BatchNorms
from edgebuild.units import format_seconds

_MOST_VALIDATIONS = 50


class Best(NamedTuple):
    """The weights with the least validation loss so far."""

    loss: float
    weights: list[Any]


class Outcome(NamedTuple):
    """Validation losses: at the start of a training, and of the weights that it left."""

    start: float
    end: float

    @property
    def is_better(self) -> bool:
        """Whether the training was worth anything; one that begins with no numbers is, if it ends with some."""
        return self.end < self.start if math.isfinite(self.start) else math.isfinite(self.end)


class Loop:
    """One training of one model.

    Args:
        lesson: what is learnt from.
        model: a tf_keras model.
        objective: its loss.
        hooks: what is done around each step.
        pace: how long.
        say: is told how it gets on.
    """

    def __init__(self, lesson: Lesson, model: Any, objective: Objective, hooks: Hooks, pace: Pace, say: Say) -> None:
        self._lesson, self._model, self._objective = lesson, model, objective
        self._hooks, self._pace, self._say = hooks, pace, say
        self._round_steps = max(lesson.data.steps_per_epoch, pace.steps // _MOST_VALIDATIONS)
        self._outside = [teacher for teacher in lesson.teachers if teacher.in_graph is None]
        self._optimizer = tf_keras.optimizers.Adam(lesson.train.learning_rate)
        self._learn = tf.function(self._learning, autograph=False, reduce_retracing=True)
        self._loss = tf.function(
            lambda x, y, outside: objective.loss(x, y, outside, training=False),
            autograph=False,
            reduce_retracing=True,
        )
        self._norms = BatchNorms(model)
        self._best: Best | None = None
        self._waited = 0  # rounds without a better one

    def run(self) -> Outcome:
        """Train in place; afterwards the model has the weights of its best epoch, statistics and all."""
        tf_keras.utils.set_random_seed(self._lesson.seed)
        start = Best(self._validation_loss(), self._weights())
        if not self._hooks.settled_from and not self._hooks.from_scratch:
            # Training never leaves a network worse than it was, unless it is changed meanwhile by design.
            self._best = start
        for step, (rows, x) in enumerate(self._lesson.data.shuffled()):
            self._pace.begin(step)
            self._one(step, rows, x)
            self._pace.end()
            is_last = self._pace.is_last(step)
            if is_last or (step + 1) % self._round_steps == 0:
                self._compare(step, is_last=is_last)
            if is_last or self._is_hopeless():
                break
        assert self._best is not None, "the last step is compared"
        for variable, value in zip(self._model.variables, self._best.weights, strict=True):
            variable.assign(value)
        return Outcome(start.loss, self._best.loss)

    def _one(self, step: int, rows: Rows, x: list[Any]) -> None:
        self._hooks.before_step(step)
        self._optimizer.learning_rate.assign(self._pace.rate(step))
        self._learn(*self._batch(rows, x))
        self._hooks.after_step(step)

    def _compare(self, step: int, *, is_last: bool) -> None:
        """Keep the weights if they are the best so far."""
        settled = is_last or step + 1 >= self._hooks.settled_from * self._pace.steps
        loss, best = self._validation_loss(), self._best
        better = best is None or not math.isfinite(best.loss) or loss < best.loss
        if settled and better:
            self._best = Best(loss, self._weights())
        # The learning rate has to fall before it can be told that nothing gets better.
        counts = settled and step + 1 >= self._pace.steps / 2
        self._waited = self._waited + 1 if counts and not better else 0
        left = format_seconds(self._pace.left_s(step))
        self._say(f"step {step + 1:,} of {self._pace.steps:,}, validation loss {loss:.4f}, {left} left")

    def _is_hopeless(self) -> bool:
        """Whether nothing got better for as long as the settings have patience."""
        patience = self._lesson.train.patience
        rounds = math.ceil(patience * self._lesson.data.steps_per_epoch / self._round_steps)
        return bool(patience) and self._waited >= rounds

    def _learning(self, x: Any, y: Any, outside: Any) -> None:
        with tf.GradientTape() as tape:
            loss = self._objective.loss(x, y, outside, training=True)
        variables = self._objective.variables
        gradients = tape.gradient(loss, variables)
        pairs = [(gradient, v) for gradient, v in zip(gradients, variables, strict=True) if gradient is not None]
        self._optimizer.apply_gradients(pairs)

    def _batch(self, rows: Rows, x: list[Any]) -> tuple[Any, Any, Any]:
        y = self._lesson.data.taught(rows)
        outside = [[tf.constant(answer) for answer in teacher.answers(rows, x)] for teacher in self._outside]
        return [tf.constant(array) for array in x], None if y is None else tf.constant(y), outside

    def _validation_loss(self) -> float:
        """The mean over the validation part, with batch norms that are up to date."""
        data = self._lesson.data
        self._norms.bring_up_to_date(data.sample())
        found = [(len(rows), float(self._loss(*self._batch(rows, x)))) for rows, x in data.in_order(data.validation)]
        return sum(count * loss for count, loss in found) / len(data.validation)

    def _weights(self) -> list[Any]:
        return [variable.numpy() for variable in self._model.variables]
