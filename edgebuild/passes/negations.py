"""The negated mean of a layer normalization as a product with -1, which int8 kernels have.

The converter leaves NEG in float, so that no network with a layer normalization of Keras 3 runs on targets without it.
Other negations stay: the converter knows PRELU and GELU by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def as_products(graph: Any, results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Give all that reads a negated mean in a function that is being traced the product; its results likewise."""
    made = list(results)
    for op in [op for op in graph.get_operations() if _is_of_mean(op)]:
        (negated,) = op.outputs
        readers = [(reader, at) for reader in negated.consumers() for at, given in enumerate(reader.inputs)]
        scope = op.name.rpartition("/")[0]
        with tf.name_scope(f"{scope}/" if scope else "negation/"):
            product = op.inputs[0] * tf.constant(-1.0)
        for reader, at in readers:
            if reader.inputs[at] is negated:
                reader._update_input(at, product)
        made = [product if result is negated else result for result in made]
    return made


def _is_of_mean(op: Any) -> bool:
    """Whether it negates the mean of a normalization: it is multiplied by an inverse deviation and by nothing else."""
    if op.type != "Neg" or op.outputs[0].dtype != tf.float32 or op.inputs[0].op.type != "Mean":
        return False
    readers = op.outputs[0].consumers()
    return bool(readers) and all(reader.type == "Mul" and any(map(_is_inverse, reader.inputs)) for reader in readers)


def _is_inverse(tensor: tf.Tensor) -> bool:
    """Whether a tensor is an inverse deviation, times the scale of the layer if it has one."""
    made_of = [tensor, *(tensor.op.inputs if tensor.op.type == "Mul" else ())]
    return any(part.op.type == "Rsqrt" for part in made_of)
