"""A float network that shows its points, and how much each value there matters to what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.graph.running import Pool, Runner

Batch = Sequence[Array]  # an array for each input, [samples, ...]
Shown = Mapping[int, Array]  # by the numbers of points, [samples, ...]


class Probe:
    """Runs a plan's graph.

    How much a value matters is the gradient of a random projection of the answers onto +1 and -1: its mean square is
    the squared norm of the value's column of the Jacobian (Hutchinson 1990, "A stochastic estimator of the trace of the
    influence matrix"). Answers are taken before a softmax, each output scaled to a power of 1.

    Args:
        plan: the network with its points.
        sizes: of what goes into each output, as a survey has them.
        projections: for each sample.
        seed: of the projections; each time the gradients of the same batches are asked for they are others.
        pool: of layers.
    """

    def __init__(self, plan: Plan, sizes: Sequence[float], *, projections: int, seed: int, pool: Pool) -> None:
        self.points, self._logits = plan.points, plan.logits
        self._runner = Runner(plan.graph, tuple(dict.fromkeys((*plan.points, *plan.logits))), pool)
        self.projections = projections
        self._random = np.random.default_rng(seed)
        self._sizes = sizes

    def values(self, batch: Batch) -> Shown:
        """The points."""
        found = {tensor: value for tensor, value in self._runner.tensors(batch) if tensor in self.points}
        return {point: found[point].numpy() for point in self.points}

    def gradients(self, batch: Batch) -> tuple[Shown, list[Shown]]:
        """The points, and their gradients for each projection."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            found = {}
            for tensor, value in self._runner.tensors(batch, at=partial(_watched, tape)):
                found[tensor] = value
            answers = [found[tensor] for tensor in self._logits]
            totals = [self._projected(answers) for _ in range(self.projections)]
        values = [found[point] for point in self.points]
        zero = tf.UnconnectedGradients.ZERO
        gradients = [tape.gradient(total, values, unconnected_gradients=zero) for total in totals]
        return self._by_point(values), [self._by_point(each) for each in gradients]

    def _projected(self, answers: Sequence[Any]) -> Any:
        signs = [self._random.choice(np.array([-1, 1], np.float32), answer.shape) for answer in answers]
        parts = zip(answers, signs, self._sizes, strict=True)
        return tf.add_n([tf.reduce_sum(answer * (by / np.float32(size))) for answer, by, size in parts])

    def _by_point(self, tensors: Sequence[Any]) -> Shown:
        return {point: tensor.numpy() for point, tensor in zip(self.points, tensors, strict=True)}


def _watched(tape: Any, tensor: int, value: Any) -> Any:
    """Watch what is watched nowhere else: the inputs, of which all that follows is made."""
    del tensor
    if value.dtype.is_floating:
        tape.watch(value)
    return value
