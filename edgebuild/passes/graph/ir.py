"""The network graph: layers with their weights, the calls that connect them through tensors, and their changes.

Passes that change a network's structure change this; `building` makes it from a tf_keras model, and one of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild import hashing

Weights = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Ref:
    """Where an argument of a call is a tensor: its number in the graph."""

    tensor: int


class Tensor(NamedTuple):
    """A tensor between calls. `shape` has the batch first, None where open."""

    shape: Shape
    dtype: str


class Layer(NamedTuple):
    """A layer, which may be called more than once.

    Attributes:
        name: unique in its graph.
        kind: its tf_keras class.
        config: what `kind.from_config` takes.
        weights: arrays by the short names of their variables ("kernel", "moving_mean"), in the order of
            `Layer.get_weights`.
    """

    name: str
    kind: type
    config: Mapping[str, Any]
    weights: Weights


class Call(NamedTuple):
    """One use of a layer.

    Attributes:
        layer: its name.
        args: as they are passed, with a Ref for each tensor.
        kwargs: likewise.
        outputs: the numbers of the tensors that come out, flattened.
    """

    layer: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The numbers of the tensors that go in, flattened; one that is used twice stands twice."""
        flat = tf.nest.flatten((self.args, list(self.kwargs.values())))
        return tuple(item.tensor for item in flat if isinstance(item, Ref))


class Input(NamedTuple):
    """An input of the network: its name and the number of its tensor."""

    name: str
    tensor: int


class Graph(NamedTuple):
    """A network.

    Attributes:
        name: the network's.
        layers: by name.
        calls: in an order in which they can be done.
        inputs: in the order the network takes them.
        outputs: the numbers of the tensors that it returns, in order.
        tensors: all of them, by number.
    """

    name: str
    layers: Mapping[str, Layer]
    calls: tuple[Call, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    tensors: Mapping[int, Tensor]

    def producers(self) -> dict[int, Call]:
        """For each tensor that is no input the call it comes from."""
        return {tensor: call for call in self.calls for tensor in call.outputs}

    def consumers(self) -> dict[int, list[Call]]:
        """For each tensor the calls that take it, in order; empty where only the caller does."""
        found: dict[int, list[Call]] = {tensor: [] for tensor in self.tensors}
        for call in self.calls:
            for tensor in dict.fromkeys(call.inputs):
                found[tensor].append(call)
        return found

    def calls_of(self, layer: str) -> Iterator[Call]:
        """Every use of a layer."""
        return (call for call in self.calls if call.layer == layer)

    @property
    def parameters(self) -> int:
        """The number of all weights."""
        return sum(int(array.size) for layer in self.layers.values() for array in layer.weights.values())

    def identity(self) -> str:
        """A SHA-256 over the structure and the weights."""
        layers = [
            [layer.name, layer.kind.__name__, repr(sorted(layer.config.items())), _digests(layer.weights)]
            for layer in self.layers.values()
        ]
        calls = [[call.layer, repr(call.args), repr(sorted(call.kwargs.items())), call.outputs] for call in self.calls]
        return hashing.of_data([layers, calls, [list(item) for item in self.inputs], self.outputs])


def _digests(weights: Weights) -> list[list[str]]:
    return [
        [name, str(array.dtype), str(array.shape), hashing.of_bytes(np.ascontiguousarray(array).tobytes())]
        for name, array in weights.items()
    ]


class Step(NamedTuple):
    """A layer to be called, and the shape of what it makes."""

    layer: Layer
    shape: Shape


def distinct(name: str, taken: Collection[str]) -> str:
    """A name that is not taken yet: this one, or it with a number behind."""
    candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
    return next(word for word in candidates if word not in taken)


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with other names for some of its layers."""
    layers = [layer._replace(name=names.get(layer.name, layer.name)) for layer in graph.layers.values()]
    return graph._replace(
        layers={layer.name: layer._replace(config={**layer.config, "name": layer.name}) for layer in layers},
        calls=tuple(call._replace(layer=names.get(call.layer, call.layer)) for call in graph.calls),
    )


class Draft:
    """A graph that is being changed: `layers` and `tensors` by the caller, calls through the methods."""

    def __init__(self, graph: Graph) -> None:
        self.layers = dict(graph.layers)
        self.tensors = dict(graph.tensors)
        self._graph = graph
        self._calls = {call.outputs: [call] for call in graph.calls}
        self._same: dict[int, int] = {}  # tensors that another one takes the place of

    def drop(self, call: Call) -> None:
        """Leave out a call with one input and one output: what it took goes on in place of what it made."""
        (self._same[call.outputs[0]],) = call.inputs
        self._calls[call.outputs] = []

    def replace(self, call: Call, *steps: Step, args: tuple[Any, ...] | None = None) -> None:
        """Have layers, one after the other, do what a call with one output did.

        Args:
            call: it goes.
            steps: the layers; one of a name that is in use takes the place of the layer of that name.
            args: what the first of them is called with; by default what the call was.
        """
        given = call.args if args is None else args
        calls = []
        for step in steps:
            number = call.outputs[0] if step is steps[-1] else max(self.tensors) + 1
            self.tensors[number] = Tensor(step.shape, self.tensors[call.outputs[0]].dtype)
            self.layers[step.layer.name] = step.layer
            calls.append(Call(step.layer.name, given, {}, (number,)))
            given = (Ref(number),)
        self._calls[call.outputs] = calls

    def graph(self) -> Graph:
        """The changed graph, without the layers and tensors that nothing uses any more."""
        calls = [self._settled(call) for call in itertools.chain.from_iterable(self._calls.values())]
        used = {call.layer for call in calls}
        alive = {item.tensor for item in self._graph.inputs} | {tensor for call in calls for tensor in call.outputs}
        return self._graph._replace(
            layers={name: layer for name, layer in self.layers.items() if name in used},
            calls=tuple(calls),
            outputs=tuple(self._final(tensor) for tensor in self._graph.outputs),
            tensors={number: tensor for number, tensor in self.tensors.items() if number in alive},
        )

    def _settled(self, call: Call) -> Call:
        if self._same.keys().isdisjoint(call.inputs):
            return call
        args, kwargs = tf.nest.map_structure(
            lambda item: Ref(self._final(item.tensor)) if isinstance(item, Ref) else item,
            (call.args, dict(call.kwargs)),
        )
        return call._replace(args=args, kwargs=kwargs)

    def _final(self, tensor: int) -> int:
        while tensor in self._same:
            tensor = self._same[tensor]
        return tensor
