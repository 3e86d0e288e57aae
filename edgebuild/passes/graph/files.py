"""Graphs in files: the structure as JSON and the weights as arrays, in one .npz file.

It takes no model of Keras to write or to read one, which is what takes the time, and names layers of Keras alone: no
code of anybody else is run by what stands in a file.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tf_keras
from tf_keras.src import layers as all_layers  # those of operations are nowhere else

from edgebuild.errors import StepError
from edgebuild.passes.graph import building, reading
from edgebuild.passes.graph.ir import Call, Graph, Input, Layer, Tensor
from edgebuild.passes.graph.values import Arrays, decoded, encoded

_STRUCTURE = "graph"


def save(graph: Graph, path: Path) -> None:
    """Write a graph. The same graph gives the same bytes.

    Raises:
        StepError: the graph holds what is no plain data, or the file cannot be written.
    """
    arrays = Arrays()
    try:
        structure = {
            "name": graph.name,
            "layers": [_of_layer(layer, arrays) for layer in graph.layers.values()],
            "calls": [[c.layer, *(encoded(x, arrays) for x in (c.args, c.kwargs)), c.outputs] for c in graph.calls],
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
    return reading.read(again)


def _of_layer(layer: Layer, arrays: Arrays) -> list[Any]:
    if _kind(layer.kind.__name__) is not layer.kind:
        raise TypeError(f"{layer.name} is a {layer.kind.__name__}, which is no layer of Keras")
    weights = [[name, arrays.add(array)] for name, array in layer.weights.items()]
    return [layer.name, layer.kind.__name__, encoded(layer.config, arrays), weights]


def _layer(given: list[Any], arrays: Mapping[int, Any]) -> Layer:
    name, word, config, weights = given
    kind = _kind(word)
    if kind is None:
        raise ValueError(f"{word} is no layer of Keras")
    return Layer(name, kind, decoded(config, arrays), {short: arrays[number] for short, number in weights})


def _call(given: list[Any], arrays: Mapping[int, Any]) -> Call:
    layer, args, kwargs, outputs = given
    return Call(layer, decoded(args, arrays), decoded(kwargs, arrays), tuple(outputs))


def _kind(word: str) -> type | None:
    """A layer's class by its name; a Lambda, whose config is code, has none."""
    found = getattr(all_layers, word, None)
    return found if word != "Lambda" and isinstance(found, type) and issubclass(found, tf_keras.layers.Layer) else None
