"""What is traced to train one model: the step of the optimizer, the loss, and the statistics of batch norms.

Tracing takes as long as a hundred steps: trainings of one model share it, and each begins with an optimizer that knows
nothing.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from edgebuild.passes.training.data import ENOUGH_ROWS, Rows
from edgebuild.passes.training.lesson import Lesson
from edgebuild.passes.training.objective import Objective
from edgebuild.passes.training.statistics import BatchNorms
from edgebuild.passes.training.tracing import Batchwise


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
