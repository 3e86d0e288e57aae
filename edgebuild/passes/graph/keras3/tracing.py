"""Operations of Keras 3 done on tf_keras tensors, so that the TensorFlow functions they consist of become layers.

A functional tf_keras model records every TensorFlow function that is called on its tensors. Keras 3 computes its
operations with such functions where TensorFlow is its backend, so calling an operation's own code leaves exactly what
it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def trace(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """What an operation makes of tf_keras tensors; all else that it is given stays as it is.

    Raises:
        Exception: of any kind, where its code does more with its arguments than hand them to TensorFlow.
    """
    by_hand = _BY_HAND.get(type(operation).__name__)
    if by_hand is not None and type(operation).__module__.startswith("keras."):
        return by_hand(operation, *args, **kwargs)
    return operation.call(*args, **kwargs)


# Operations whose code looks into its tensors, and so cannot be called on those of a model that is being built.


def _maximum(operation: Any, x: Any) -> Any:
    _require(getattr(operation, "initial", None) is None)
    return tf.reduce_max(x, axis=operation.axis, keepdims=operation.keepdims)


def _minimum(operation: Any, x: Any) -> Any:
    _require(getattr(operation, "initial", None) is None)
    return tf.reduce_min(x, axis=operation.axis, keepdims=operation.keepdims)


def _argmax(operation: Any, x: Any) -> Any:
    return _position(tf.argmax, operation, x)


def _argmin(operation: Any, x: Any) -> Any:
    return _position(tf.argmin, operation, x)


def _position(function: Callable[..., Any], operation: Any, x: Any) -> Any:
    _require(operation.axis is not None)
    found = function(x, axis=operation.axis, output_type=tf.int32)
    return tf.expand_dims(found, operation.axis) if operation.keepdims else found


def _swap(operation: Any, x: Any) -> Any:
    order = list(range(len(x.shape)))
    one, other = operation.axis1, operation.axis2
    order[one], order[other] = order[other], order[one]
    return tf.transpose(x, order)


def _move(operation: Any, x: Any) -> Any:
    rank = len(x.shape)
    source, target = ([axis % rank for axis in _listed(axes)] for axes in (operation.source, operation.destination))
    order = [axis for axis in range(rank) if axis not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return tf.transpose(x, order)


def _one_hot(operation: Any, x: Any) -> Any:
    _require(not operation.sparse)
    return tf.one_hot(tf.cast(x, tf.int32), operation.num_classes, axis=operation.axis, dtype=operation.dtype)


def _take(operation: Any, x: Any, indices: Any) -> Any:
    places = np.asarray(indices)  # fails where they are a tensor that is not known yet
    _require(operation.axis is not None and (places.min(initial=0) >= 0 or x.shape[operation.axis] is not None))
    counted = np.where(places < 0, places + (x.shape[operation.axis] or 0), places)
    return tf.gather(x, counted.tolist(), axis=operation.axis)


def _negate(_: Any, x: Any) -> Any:
    return tf.logical_not(tf.cast(x, tf.bool))


def _listed(axes: Any) -> list[int]:
    return [axes] if isinstance(axes, int) else list(axes)


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("An option of it has no counterpart in tf_keras.")


_BY_HAND: dict[str, Callable[..., Any]] = {
    "Amax": _maximum,
    "Amin": _minimum,
    "Argmax": _argmax,
    "Argmin": _argmin,
    "LogicalNot": _negate,
    "Max": _maximum,
    "Min": _minimum,
    "Moveaxis": _move,
    "OneHot": _one_hot,
    "Swapaxes": _swap,
    "Take": _take,
}
