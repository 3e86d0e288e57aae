"""What teachers say to a few samples: it tells what their answers mean, and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.data.given import Array
from edgebuild.errors import UsageError
from edgebuild.passes.training import heads
from edgebuild.passes.training.data import TrainData
from edgebuild.passes.training.heads import Head
from edgebuild.passes.training.teachers import Teacher

_SAMPLES = 256


class Probe:
    """The answers of teachers to the first samples of the validation part.

    Args:
        teachers: may be none.
        data: what they are asked about.

    Raises:
        UsageError: a teacher cannot answer.
        StepError: it failed.
    """

    def __init__(self, teachers: Sequence[Teacher], data: TrainData) -> None:
        self._teachers, self._data = teachers, data
        with tf.init_scope():  # they may be asked while a loss is traced
            self._answers = [_ask(teacher, data) for teacher in teachers]

    def require_fit(self, model: Any) -> None:
        """Refuse teachers that answer in other shapes than a model does; raises UsageError."""
        shapes = [tuple(tensor.shape[1:]) for tensor in model.outputs]
        for teacher, given in zip(self._teachers, self._answers, strict=True):
            if [answer.shape[1:] for answer in given] != shapes:
                raise UsageError(
                    f"the teacher {teacher.name} answers in the shapes {[list(a.shape[1:]) for a in given]}, "
                    f"the network in {[list(shape) for shape in shapes]}"
                )

    def likely(self, found: Sequence[Head]) -> list[list[bool]]:
        """For each teacher and output (of the given heads) whether its answers are probabilities."""
        return [[heads.is_likely(a, head) for a, head in zip(given, found, strict=True)] for given in self._answers]

    def first_is_likely(self, output: int, head: Head) -> bool:
        """Whether what the first teacher says for an output are probabilities."""
        return heads.is_likely(self._answers[0][output], head)

    def scales(self, found: Sequence[Head]) -> list[float]:
        """For each output the variance of its values, 1 where it has none; without teachers that of the labels."""
        values = self._answers[0] if self._answers else [self._data.taught(self._data.rows)] * len(found)
        return [_variance(v) if head == Head.VALUES else 1.0 for v, head in zip(values, found, strict=True)]


def _ask(teacher: Teacher, data: TrainData) -> list[Array]:
    rows = data.validation[:_SAMPLES]
    try:
        return teacher.answers(rows, data.take(rows))
    except (tf.errors.OpError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the teacher {teacher.name} cannot answer the train samples", reason) from None


def _variance(values: Any) -> float:
    """Of values over the data; 1 where they do not vary."""
    return float(np.var(values)) or 1.0
