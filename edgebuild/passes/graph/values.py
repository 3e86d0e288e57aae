"""What configs and calls of layers are made of, as JSON that gives the same values back.

JSON has fewer kinds of values than Python: what it lacks becomes an object of one key, its kind; so do dicts, which
need no names of kinds then that no key may have.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.passes.graph.ir import Ref


class Arrays:
    """The arrays that stand beside the JSON, which names them by their numbers."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def add(self, array: Any) -> int:
        """Take an array; its number.

        Raises:
            TypeError: its elements are Python objects.
        """
        found = np.asarray(array)
        if found.dtype.hasobject:
            raise TypeError(f"an array of {found.dtype} is no plain data")
        self.items.append(found)
        return len(self.items) - 1


def encoded(value: Any, arrays: Arrays) -> Any:
    """A value as JSON holds it.

    Args:
        value: None, a truth value, a number, a text, or what `_KINDS` has, of any depth.
        arrays: takes the arrays in it.

    Raises:
        TypeError: it is something else, code say.
    """
    if value is None or isinstance(value, bool | str | int | float):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, list):
        return [encoded(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encoded(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encoded(key, arrays), encoded(item, arrays)] for key, item in value.items()]}
    if isinstance(value, Ref):
        return {"ref": value.tensor}
    if isinstance(value, slice):
        return {"slice": [encoded(item, arrays) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, np.generic):
        return encoded(value.item(), arrays)
    return _encoded_tensors(value, arrays)


def _encoded_tensors(value: Any, arrays: Arrays) -> Any:
    """Values of TensorFlow and of numpy, and objects of Keras that say what they are made of."""
    if isinstance(value, tf.DType):
        return {"dtype": value.name}
    if isinstance(value, np.dtype):
        return {"dtype": tf.as_dtype(value).name}
    if isinstance(value, tf.TensorShape):
        return {"shape": None if value.rank is None else value.as_list()}
    if isinstance(value, np.ndarray):
        return {"array": arrays.add(value)}
    if tf.is_tensor(value) and hasattr(value, "numpy"):
        return {"tensor": arrays.add(value.numpy())}
    if hasattr(value, "get_config"):
        return encoded(tf_keras.utils.legacy.serialize_keras_object(value), arrays)
    raise TypeError(f"a value of {type(value).__name__} is no plain data")


def decoded(value: Any, arrays: Mapping[int, Any]) -> Any:
    """What `encoded` was given.

    Raises:
        ValueError, KeyError, TypeError: it is not what `encoded` gives.
    """
    if isinstance(value, list):
        return [decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind in ("array", "tensor"):
        return arrays[held] if kind == "array" else tf.constant(arrays[held])
    return _KINDS[kind](decoded(held, arrays))


def _slice(ends: list[Any]) -> slice:
    start, stop, step = ends
    return slice(start, stop, step)


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "dict": lambda pairs: {key: item for key, item in pairs},  # noqa: C416 - only pairs are let in
    "ref": Ref,
    "slice": _slice,
    "ellipsis": lambda _: Ellipsis,
    "dtype": tf.as_dtype,
    "shape": tf.TensorShape,
}
