"""Small changes of graphs, of which the passes that rewrite a network consist."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref, Shape, Tensor


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
