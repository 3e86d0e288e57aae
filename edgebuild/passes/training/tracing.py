"""Functions of batches, run as they are while they are called seldom, and traced once for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# To trace a pass through a network takes as long as so many calls take longer that are not traced.
SELDOM = 24


class Batchwise:
    """A function of tensors with the batch along their first axis.

    The last batch of an epoch is smaller: traced by its shape a step of training would cost its seconds twice.

    Args:
        function: takes tensors, lists of them, and None.
        eager: so many calls are not traced.
    """

    def __init__(self, function: Callable[..., Any], eager: int = 0) -> None:
        self._eager, self._calls = function, eager
        self._traced: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        if self._calls > 0:
            self._calls -= 1
            return self._eager(*arguments)
        if self._traced is None:
            self._traced = tf.function(self._eager, autograph=False)
            self._traced.get_concrete_function(*tf.nest.map_structure(_of_any_size, arguments))
        return self._traced(*arguments)


def _of_any_size(tensor: Any) -> Any:
    return None if tensor is None else tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
