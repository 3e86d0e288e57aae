"""What a network's outputs mean: classes, independent yes or no answers, or plain values; and their logits."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.core.metric import Metric
from edgebuild.passes import calling

# What may stand between an activation and the end of a network without changing what it means.
_TRANSPARENT = frozenset({"Identity", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs"})
# They keep logarithms of probabilities finite in float32.
_SMALLEST = 1e-30
_MARGIN = 1e-7


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
