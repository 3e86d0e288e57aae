"""A float network that shows its points, and how much each value there matters to what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.graph import building

Batch = Sequence[Array]  # an array for each input, [samples, ...]
Shown = Mapping[int, Array]  # by the numbers of points, [samples, ...]


class Probe:
    """Runs a plan's graph.

    How much a value matters is the gradient of a random projection of the answers onto +1 and -1: its mean square is
    the squared norm of the value's column of the Jacobian (Hutchinson 1990, "A stochastic estimator of the trace of the
    influence matrix"). Answers are taken before a softmax, each output scaled to a power of 1.

    Args:
        plan: the network with its points.
        scaled_by: samples that the power of the answers is measured on.
        projections: for each sample.
        seed: of the projections; each time the gradients of the same batches are asked for they are others.
    """

    def __init__(self, plan: Plan, scaled_by: Iterable[Batch], *, projections: int, seed: int) -> None:
        self.points = plan.points
        inputs = [item.tensor for item in plan.graph.inputs]
        self._of_inputs = [inputs.index(point) for point in plan.points if point in inputs]
        inner = [point for point in plan.points if point not in inputs]
        self._model: Any = building.build(plan.graph._replace(outputs=(*inner, *plan.logits)))
        self._call = tf.function(self._outputs, reduce_retracing=True)
        self._differentiate = tf.function(self._with_gradients, reduce_retracing=True)
        self._projections = projections
        self._random = np.random.default_rng(seed)
        self._sizes = [1.0] * len(plan.logits)
        powers = [[float(np.square(array, dtype=np.float64).mean()) for array in self._run(b)[1]] for b in scaled_by]
        self._sizes = [math.sqrt(power) or 1.0 for power in np.mean(powers, 0)]

    def values(self, batch: Batch) -> Shown:
        """The points."""
        return self._run(batch)[0]

    def gradients(self, batch: Batch) -> Iterator[tuple[Shown, Shown]]:
        """The points with their gradients, for each projection."""
        _, answers = self._run(batch)
        for _ in range(self._projections):
            signs = [
                self._random.choice(np.array([-1, 1], np.float32), answer.shape) / np.float32(size)
                for answer, size in zip(answers, self._sizes, strict=True)
            ]
            values, gradients = self._differentiate(list(map(tf.constant, batch)), list(map(tf.constant, signs)))
            yield self._by_point(values), self._by_point(gradients)

    def _run(self, batch: Batch) -> tuple[Shown, list[Array]]:
        made = self._call(*map(tf.constant, batch))
        return self._by_point(made[: len(self.points)]), [tensor.numpy() for tensor in made[len(self.points) :]]

    def _by_point(self, tensors: Sequence[Any]) -> Shown:
        return {point: tensor.numpy() for point, tensor in zip(self.points, tensors, strict=True)}

    def _outputs(self, *given: Any) -> Any:
        return [given[number] for number in self._of_inputs] + calling.outputs(self._model, given)

    def _with_gradients(self, given: Any, signs: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([tensor for tensor in given if tensor.dtype.is_floating])
            made = self._outputs(*given)
            values, answers = made[: len(self.points)], made[len(self.points) :]
            total = tf.add_n([tf.reduce_sum(one * by) for one, by in zip(answers, signs, strict=True)])
        return values, tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
