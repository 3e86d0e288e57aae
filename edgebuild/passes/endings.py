"""What makes the outputs of a frozen network: a sigmoid, a softmax, or something else."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_TELLING = ("Sigmoid", "Softmax")
# What may stand between an activation and the end of a network without changing what it means.
_TRANSPARENT = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "Cast", "Transpose"})


def of(module: Any) -> dict[str, str]:
    """The operator that makes each output, by the output's name: "Sigmoid", "Softmax", or "" for any other.

    Args:
        module: as `tf.saved_model.load` gives it.

    Returns:
        Nothing where the graph cannot be seen through: an output's range then tells what it is.
    """
    trace = module.network.concrete_functions[0]
    try:
        function = convert_variables_to_constants_v2(trace)
    except Exception:  # whatever TensorFlow raises of a graph that it cannot turn into one without variables
        return {}
    names = sorted(trace.structured_outputs) if isinstance(trace.structured_outputs, dict) else []
    flat = tf.nest.flatten(function.outputs)
    return {name: _ending(tensor) for name, tensor in zip(names, flat, strict=True)} if len(names) == len(flat) else {}


def _ending(tensor: Any) -> str:
    operation = tensor.op
    while operation.type in _TRANSPARENT:
        operation = operation.inputs[0].op
    return operation.type if operation.type in _TELLING else ""
