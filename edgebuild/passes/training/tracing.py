"""Functions of batches that TensorFlow traces once, whatever the size of a batch is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class Batchwise:
    """A function of tensors with the batch along their first axis, traced at its first call for batches of any size.

    The last batch of an epoch is smaller: traced by its shape a step of training would cost its seconds twice.

    Args:
        function: takes tensors, lists of them, and None.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Any = tf.function(function, autograph=False)
        self._is_traced = False

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        if not self._is_traced:
            self._function.get_concrete_function(*tf.nest.map_structure(_of_any_size, arguments))
            self._is_traced = True
        return self._function(*arguments)


def _of_any_size(tensor: Any) -> Any:
    return None if tensor is None else tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
