"""Teachers that are asked about each sample once: trainings of one target go over the same samples again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.data.given import Array
from edgebuild.passes.training.data import Rows
from edgebuild.passes.training.teachers import Teacher
from edgebuild.passes.training.tracing import SELDOM, Batchwise

_MOST_BYTES = 1 << 28


def remembering(teacher: Teacher, shapes: Sequence[Sequence[int | None]], samples: int) -> Teacher:
    """The same teacher, that keeps its outputs for the samples of the train split; itself where they are too large.

    Args:
        teacher: one that computes its outputs in a TensorFlow graph.
        shapes: of its outputs, without the batch.
        samples: of the train split.
    """
    if teacher.in_graph is None or any(size is None for shape in shapes for size in shape):
        return teacher
    size_bytes = 4 * samples * sum(math.prod(size or 1 for size in shape) for shape in shapes)
    return teacher._replace(in_graph=None, outside=_Memory(teacher, samples)) if size_bytes <= _MOST_BYTES else teacher


class _Memory:
    """What a teacher made of each sample so far."""

    def __init__(self, teacher: Teacher, samples: int) -> None:
        self._call = Batchwise(teacher.in_graph or (lambda _: []), eager=SELDOM)
        self._is_known = np.zeros(samples, bool)
        self._outputs: list[Array] = []

    def __call__(self, rows: Rows, x: list[Any]) -> list[Array]:
        """Its outputs for rows of the train split with these samples."""
        new = ~self._is_known[rows]
        if new.any():
            found = [out.numpy() for out in self._call([tf.constant(array[new]) for array in x])]
            if not self._outputs:
                self._outputs = [np.zeros((len(self._is_known), *out.shape[1:]), out.dtype) for out in found]
            for kept, out in zip(self._outputs, found, strict=True):
                kept[rows[new]] = out
            self._is_known[rows[new]] = True
        return [kept[rows] for kept in self._outputs]
