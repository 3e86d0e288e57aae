"""Graphs in files: the structure as JSON and the weights as arrays, in one .npz file.

It takes no model of Keras to write or to read one, which is what takes the time, and names layers of Keras alone: no
code of anybody else is run by what stands in a file.

JSON has fewer kinds of values than Python: what it lacks becomes an object of one key, its kind; so do dicts, which
need no names of kinds then that no key may have.
"""

from __future__ import annotations

import enum
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src import layers as all_layers  # those of operations are nowhere else

from edgebuild.errors import StepError
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Call, Graph, Input, Layer, Ref, Tensor

_STRUCTURE = "graph"


def save(graph: Graph, path: Path) -> None:
    """Write a graph. The same graph gives the same bytes.

    Raises:
        StepError: the graph holds what is no plain data, or the file cannot be written.
    """
    arrays = _Arrays()
    try:
        structure = {
            "name": graph.name,
            "layers": [_of_layer(layer, arrays) for layer in graph.layers.values()],
            "calls": [[c.layer, *(_encoded(x, arrays) for x in (c.args, c.kwargs)), c.outputs] for c in graph.calls],
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "tensors": [[number, *tensor] for number, tensor in graph.tensors.items()],
        }
        held: dict[str, Any] = {str(number): array for number, array in enumerate(arrays.items)}
        held[_STRUCTURE] = np.frombuffer(json.dumps(structure).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez(file, **held)
    except (OSError, TypeError, ValueError) as error:
        raise StepError(f"{path} cannot be written", str(error).splitlines()[0]) from error


def load(path: Path) -> Graph:
    """Read what `save` wrote.

    Raises:
        StepError: the file is damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            structure = json.loads(file[_STRUCTURE].tobytes())
            arrays = {int(name): file[name] for name in file.files if name != _STRUCTURE}
        layers = [_layer(given, arrays) for given in structure["layers"]]
        return Graph(
            name=structure["name"],
            layers={layer.name: layer for layer in layers},
            calls=tuple(_call(given, arrays) for given in structure["calls"]),
            inputs=tuple(Input(*given) for given in structure["inputs"]),
            outputs=tuple(structure["outputs"]),
            tensors={number: Tensor(tuple(shape), dtype) for number, shape, dtype in structure["tensors"]},
        )
    except (OSError, EOFError, TypeError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise StepError(f"{path} cannot be loaded", (str(error).splitlines() or [""])[0]) from error


def through_keras(graph: Graph) -> Graph:
    """The graph as Keras gives it back from a file of its own, which is the form that the rules of passes know.

    What was passed by position may have a name then, and tuples may be lists.

    Raises:
        StepError: the graph is not consistent, or Keras cannot write it.
    """
    model = building.build(graph)
    try:
        with warnings.catch_warnings(), h5py.File(graph.name, "w", driver="core", backing_store=False) as memory:
            warnings.simplefilter("ignore")  # that the format is an old one
            tf_keras.models.save_model(model, memory, include_optimizer=False)
            again = tf_keras.models.load_model(memory, compile=False)
    except (OSError, RuntimeError, TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise StepError(f"{graph.name} cannot be written by Keras", str(error).splitlines()[0]) from error
    return building.read(again)


def _of_layer(layer: Layer, arrays: _Arrays) -> list[Any]:
    if _kind(layer.kind.__name__) is not layer.kind:
        raise TypeError(f"{layer.name} is a {layer.kind.__name__}, which is no layer of Keras")
    weights = [[name, arrays.add(array)] for name, array in layer.weights.items()]
    return [layer.name, layer.kind.__name__, _encoded(layer.config, arrays), weights]


def _layer(given: list[Any], arrays: Mapping[int, Any]) -> Layer:
    name, word, config, weights = given
    kind = _kind(word)
    if kind is None:
        raise ValueError(f"{word} is no layer of Keras")
    return Layer(name, kind, _decoded(config, arrays), {short: arrays[number] for short, number in weights})


def _call(given: list[Any], arrays: Mapping[int, Any]) -> Call:
    layer, args, kwargs, outputs = given
    return Call(layer, _decoded(args, arrays), _decoded(kwargs, arrays), tuple(outputs))


def _kind(word: str) -> type | None:
    """A layer's class by its name; a Lambda, whose config is code, has none."""
    found = getattr(all_layers, word, None)
    return found if word != "Lambda" and isinstance(found, type) and issubclass(found, tf_keras.layers.Layer) else None


class _Arrays:
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


def _encoded(value: Any, arrays: _Arrays) -> Any:
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
        return [_encoded(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encoded(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encoded(key, arrays), _encoded(item, arrays)] for key, item in value.items()]}
    if isinstance(value, Ref):
        return {"ref": value.tensor}
    if isinstance(value, slice):
        return {"slice": [_encoded(item, arrays) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, np.generic):
        return _encoded(value.item(), arrays)
    return _encoded_tensors(value, arrays)


def _encoded_tensors(value: Any, arrays: _Arrays) -> Any:
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
        return _encoded(tf_keras.utils.legacy.serialize_keras_object(value), arrays)
    raise TypeError(f"a value of {type(value).__name__} is no plain data")


def _decoded(value: Any, arrays: Mapping[int, Any]) -> Any:
    """What `encoded` was given.

    Raises:
        ValueError, KeyError, TypeError: it is not what `encoded` gives.
    """
    if isinstance(value, list):
        return [_decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind in ("array", "tensor"):
        return arrays[held] if kind == "array" else tf.constant(arrays[held])
    return _KINDS[kind](_decoded(held, arrays))


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
