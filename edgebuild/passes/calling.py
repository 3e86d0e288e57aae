"""Calling Keras models of any version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def packed(inputs: Sequence[Any]) -> Any:
    """Inputs as Keras models take them: the only one by itself, several as a list."""
    return inputs[0] if len(inputs) == 1 else list(inputs)


def outputs(model: Any, inputs: Sequence[Any], *, training: bool = False) -> list[Any]:
    """What a model makes of a batch, one tensor for each of its outputs."""
    return list(tf.nest.flatten(model(packed(inputs), training=training)))
