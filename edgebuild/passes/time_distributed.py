"""TimeDistributed layers computed on all steps at once, the steps folded into the batch.

Where the batch is fixed Keras writes the inner layer once for each step, between slices of a tensor that has one axis
more than TensorFlow Lite Micro takes. A reshape from [batch, steps, ...] to [batch * steps, ...] moves no value, and an
inner layer computes every row of a batch by itself: one copy of it does the same.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from edgebuild.passes import calling


def is_one(layer: Any) -> bool:
    """Whether a layer is Keras's TimeDistributed, of either version."""
    return type(layer).__name__ == "TimeDistributed" and type(layer).__module__.startswith(("keras.", "tf_keras."))


@contextmanager
def folded(model: Any) -> Iterator[None]:
    """While this lasts, the TimeDistributed layers in a model fold the steps of what they are called with."""
    found = list({id(layer): layer for layer in _walked(model)}.values())
    with calling.replaced([(layer, _folding(layer, layer.call)) for layer in found]):
        yield


def _walked(model: Any) -> Iterator[Any]:
    """All TimeDistributed layers in a model, in the models in it, and in what these are wrapped around."""
    for layer in (*getattr(model, "layers", ()), *([model.layer] if is_one(model) else ())):
        if is_one(layer):
            yield layer
        yield from _walked(layer)


def _folding(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    takes_training = "training" in inspect.signature(layer.layer.call).parameters

    @functools.wraps(call)
    def folding(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if mask is not None or not can_fold(layer, inputs):
            return call(inputs, training=training, mask=mask)
        options = {"training": training} if takes_training else {}
        made = layer.layer(rows_of(inputs), **options)
        return tf.nest.map_structure(lambda rows: steps_of(rows, inputs), made)

    return folding


def can_fold(layer: Any, inputs: Any) -> bool:
    """Whether a TimeDistributed layer computes each step of a tensor by itself, in a known number of steps.

    A layer of the user's own may look at the whole batch, and a stateful one keeps a state for each row of it.
    """
    parts = list(_parts(layer.layer))
    own = all(type(part).__module__.startswith(("keras.", "tf_keras.")) for part in parts)
    stateful = any(getattr(part, "stateful", False) for part in parts)
    return own and not stateful and tf.is_tensor(inputs) and None not in inputs.shape[1:]


def _parts(layer: Any) -> Iterator[Any]:
    yield layer
    for inner in (*getattr(layer, "layers", ()), *([layer.layer] if hasattr(layer, "layer") else ())):
        yield from _parts(inner)


def rows_of(inputs: Any) -> Any:
    """A tensor (batch, steps, ...) as (batch * steps, ...)."""
    return tf.reshape(inputs, (-1, *inputs.shape[2:]))


def steps_of(rows: Any, inputs: Any) -> Any:
    """What was made of `rows_of(inputs)`, (batch * steps, ...), as (batch, steps, ...)."""
    batch, steps = inputs.shape[:2]
    return tf.reshape(rows, (-1 if batch is None else batch, steps, *rows.shape[1:]))
