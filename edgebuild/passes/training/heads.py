"""What a network's outputs mean: classes, independent yes or no answers, or plain values; asked of teachers as well."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.core.metric import Metric
from edgebuild.data.given import Array
from edgebuild.errors import UsageError
from edgebuild.passes import calling
from edgebuild.passes.training.data import TrainData
from edgebuild.passes.training.teachers import Teacher

# What may stand between an activation and the end of a network without changing what it means.
_TRANSPARENT = frozenset({"Identity", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs"})
# They keep logarithms of probabilities finite in float32.
_SMALLEST = 1e-30
_MARGIN = 1e-7
_SAMPLES = 256


class Head(Enum):
    """How an output is taught."""

    CLASSES = "classes"
    ANSWERS = "answers"
    VALUES = "values"


def of_output(output: Any, metric: Metric) -> tuple[Head, Any]:
    """The head of an output, and the tensor to teach: logits where it is a distribution, else the output itself.

    Args:
        output: [batch, ...], a tensor of a graph under construction: the operation that made it tells what it is, and
            gives its logits without the loss of precision that a logarithm of probabilities has.
        metric: tells classes from values where the network ends without an activation.
    """
    operation = output.op
    while operation.type in _TRANSPARENT:
        operation = operation.inputs[0].op
    if operation.type == "Softmax":
        return Head.CLASSES, operation.inputs[0]
    if operation.type == "Sigmoid":
        return Head.ANSWERS, operation.inputs[0]
    if metric.says_yes_or_no and metric.threshold == 0:
        return Head.ANSWERS, output
    if metric.classifies and output.shape.rank and (output.shape[-1] or 0) > 1:
        return Head.CLASSES, output
    return Head.VALUES, output


class Ending(NamedTuple):
    """What an output means, and whether it is probabilities by its making, whose logits are taught."""

    head: Head
    likely: bool


def endings_of(model: Any, metric: Metric) -> list[Ending]:
    """How each output of a tf_keras model ends, found by tracing it once."""
    found: list[Ending] = []

    def trace(*tensors: Any) -> Any:
        outputs = calling.outputs(model, tensors)
        for output in outputs:
            head, taught = of_output(output, metric)
            found.append(Ending(head, taught is not output))
        return outputs

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    tf.function(trace, autograph=False).get_concrete_function(*specs)
    return found


def is_likely(results: npt.NDArray[Any], head: Head) -> bool:
    """Whether results whose making is out of sight are probabilities rather than logits.

    Args:
        results: [batch, ...] of a teacher.
        head: of the student's output.
    """
    within = bool(np.all(results >= 0) and np.all(results <= 1))
    return within and (head != Head.CLASSES or bool(np.allclose(results.sum(axis=-1), 1, atol=1e-2)))


def logits_of_results(results: Any, head: Head, *, likely: bool) -> Any:
    """A teacher's results as logits.

    Args:
        results: [batch, ...] float.
        head: of the student's output.
        likely: whether they are probabilities.
    """
    if head == Head.CLASSES and likely:
        return tf.math.log(results + _SMALLEST)
    if head == Head.ANSWERS and likely:
        clipped = tf.clip_by_value(results, _MARGIN, 1 - _MARGIN)
        return tf.math.log(clipped) - tf.math.log1p(-clipped)
    return results


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
        return [[is_likely(a, head) for a, head in zip(given, found, strict=True)] for given in self._answers]

    def first_is_likely(self, output: int, head: Head) -> bool:
        """Whether what the first teacher says for an output are probabilities."""
        return is_likely(self._answers[0][output], head)

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
