"""Negation as a product with -1: the converter leaves NEG in float, and MUL runs in int8 everywhere.

Layer normalization of Keras 3 negates the mean; without this no network that has one runs on targets without float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def as_products(graph: Any, results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Give all that reads a negation in a function that is being traced the product instead; its results likewise."""
    made = list(results)
    for op in [op for op in graph.get_operations() if op.type == "Neg" and op.outputs[0].dtype == tf.float32]:
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
