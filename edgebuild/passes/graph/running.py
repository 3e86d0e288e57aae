"""Graphs run call by call: a layer is made once, whatever weights it gets, and next to nothing is traced.

Building a Keras model and tracing it takes longer than most networks take for all calibration samples, and passes run a
network with dozens of weights and ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes.graph import building
from edgebuild.passes.graph.building import filled
from edgebuild.passes.graph.ir import Call, Graph, Layer

Array = npt.NDArray[Any]
# Puts another value in place of a tensor's: takes its number and what it is.
At = Callable[[int, Any], Any]

_MASK = "_keras_mask"
# Step by step they take far longer than traced.
_STEPPING = (tf_keras.layers.RNN, tf_keras.layers.Wrapper)

# Of these the function alone does all that is needed once they are built: what Keras does around it takes longer than
# they do on few samples.
_PLAIN = frozenset(
    getattr(tf_keras.layers, name)
    for name in (
        *("Activation", "Add", "Concatenate", "Conv1D", "Conv2D", "Dense", "DepthwiseConv2D", "Flatten", "Multiply"),
        *("AveragePooling2D", "GlobalAveragePooling2D", "MaxPooling2D", "ReLU", "Reshape", "ZeroPadding2D"),
    )
)
_FLOAT_BYTES = 4


class _Made(NamedTuple):
    """A layer of Keras, the function that computes it, and what it was made from."""

    layer: Any
    function: Any
    config: Mapping[str, Any]
    weights: list[Array]


class Pool:
    """Layers of Keras that were made for layers of graphs, by name; a layer with other weights is the same layer."""

    def __init__(self) -> None:
        self._made: dict[str, list[_Made]] = {}

    def call(self, layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """What a layer makes of tensors, flattened: in inference, with the masks that tensors carry.

        Raises:
            StepError: the layer cannot be made, or does not fit what it is given.
        """
        try:
            made, masked = self._ready(layer, args, kwargs), _is_masked(args, kwargs)
            if layer.kind in _PLAIN and made.layer.built and not masked and not kwargs:
                return list(tf.nest.flatten(made.layer.call(*args)))
            function = made.layer if masked else made.function
            return list(tf.nest.flatten(function(*args, **_inferring(made.layer, kwargs))))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise StepError(f"the layer {layer.name} does not fit the network", str(error).splitlines()[0]) from error

    def _ready(self, layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Made:
        """The layer with its weights."""
        known = self._made.setdefault(layer.name, [])
        made = next((each for each in known if _is_same(each.config, layer.config)), None)
        if made is None:
            keras = building.make(layer)
            if layer.kind in _PLAIN and len(args) == 1:
                keras.build(tf.nest.map_structure(lambda item: item.shape, args[0]))
            elif layer.weights:
                keras(*args, **_inferring(keras, kwargs))  # it has no variables before
            stepping = isinstance(keras, _STEPPING)
            made = _Made(keras, tf.function(keras, reduce_retracing=True) if stepping else keras, layer.config, [])
            known.append(made)
        weights = list(layer.weights.values())
        if len(weights) != len(made.weights):
            made.layer.set_weights(weights)
        else:
            for variable, array, was in zip(made.layer.weights, weights, made.weights, strict=True):
                if array is not was:
                    variable.assign(array)
        made.weights[:] = weights
        return made


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one is other or repr(one) == repr(other)  # values may be arrays, which do not compare


def _is_masked(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a tensor carries a mask, which a traced function would not see."""
    return any(getattr(item, _MASK, None) is not None for item in tf.nest.flatten((args, list(kwargs.values()))))


def _inferring(layer: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(kwargs)
    if getattr(layer, "_expects_training_arg", False) and given.get("training") is None:
        given["training"] = False
    return given


class _Step(NamedTuple):
    """A call, and the tensors that nothing takes after it."""

    call: Call
    last: tuple[int, ...]


class Runner:
    """Runs the part of a graph that some of its tensors need.

    Args:
        graph: the network.
        wanted: the tensors.
        pool: of layers, where another runner has made them already.
        keeps: whether wanted tensors stay in memory until the end of a batch; others go after their last use.
    """

    def __init__(self, graph: Graph, wanted: Collection[int], pool: Pool | None = None, *, keeps: bool = True) -> None:
        self._graph, self.wanted = graph, tuple(wanted)
        self._steps = _steps(graph, frozenset(wanted), kept=frozenset(wanted if keeps else ()))
        self.pool = pool or Pool()

    def tensors(
        self, batch: Sequence[Array], *, layers: Mapping[str, Layer] | None = None, at: At | None = None
    ) -> Iterator[tuple[int, Any]]:
        """All tensors of one batch as they come, inputs first.

        Args:
            batch: an array for each input, [samples, ...].
            layers: in place of the graph's: the same with other weights.
            at: puts other values in place of tensors.

        Raises:
            StepError: the graph is not consistent.
        """
        known = self._graph.layers if layers is None else layers
        values: dict[int, Any] = {}
        for item, array in zip(self._graph.inputs, batch, strict=True):
            values[item.tensor] = _put(item.tensor, tf.constant(array), at)
            yield item.tensor, values[item.tensor]
        for call, last in self._steps:
            args, kwargs = filled(call, values)
            for tensor, result in zip(call.outputs, self.pool.call(known[call.layer], args, kwargs), strict=True):
                values[tensor] = _put(tensor, result, at)
                yield tensor, values[tensor]
            for tensor in last:
                del values[tensor]

    def outputs(
        self, batch: Sequence[Array], *, layers: Mapping[str, Layer] | None = None, at: At | None = None
    ) -> list[Any]:
        """The wanted tensors of one batch, in order; arguments as for `tensors`."""
        wanted = frozenset(self.wanted)
        found = {tensor: value for tensor, value in self.tensors(batch, layers=layers, at=at) if tensor in wanted}
        return [found[tensor] for tensor in self.wanted]


def _put(tensor: int, value: Any, at: At | None) -> Any:
    """The value that stands in for a tensor's, with its mask."""
    if at is None:
        return value
    result, mask = at(tensor, value), getattr(value, _MASK, None)
    if result is not value and mask is not None:
        setattr(result, _MASK, mask)
    return result


def _steps(graph: Graph, wanted: frozenset[int], kept: frozenset[int]) -> list[_Step]:
    """The calls that lead to wanted tensors, in order."""
    needed, calls = set(wanted), []
    for call in reversed(graph.calls):
        if needed.intersection(call.outputs):
            needed.update(call.inputs)
            calls.append(call)
    part = graph._replace(calls=tuple(reversed(calls)))
    return [
        _Step(call, tuple(tensor for tensor in last if tensor not in kept))
        for call, last in zip(part.calls, last_uses(part), strict=True)
    ]


def evenly(batches: Sequence[Sequence[Array]], most: int) -> list[Array]:
    """No more samples than so many, spread evenly over all batches: one array for each input."""
    step, start, found = max(1, -(-sum(len(batch[0]) for batch in batches) // most)), 0, []
    for batch in batches:
        found.append([array[start::step] for array in batch])
        start = (start - len(batch[0])) % step
    return [np.concatenate(arrays) for arrays in zip(*found, strict=True)]


def rows(graph: Graph) -> dict[int, int]:
    """For each tensor of a graph how many rows of it belong to one sample."""
    found = {item.tensor: 1 for item in graph.inputs}
    for call in graph.calls:
        count = max((found[tensor] for tensor in call.inputs), default=1)
        if changes(graph.layers[call.layer], graph, call):
            count = count * _size(graph, call.inputs[0]) // _size(graph, call.outputs[0])
        found.update(dict.fromkeys(call.outputs, count))
    return found


def changes(layer: Layer, graph: Graph, call: Call) -> bool:
    """Whether a call of a layer makes other rows of those that go in: a reshape from one size of sample to another."""
    if layer.config.get("function") != "reshape" or len(call.inputs) != 1:
        return False
    before, after = _size(graph, call.inputs[0]), _size(graph, call.outputs[0])
    return before != after and before * after > 0


def bytes_alive(graph: Graph) -> int:
    """The bytes of one sample's tensors that are alive together at most, as float32, where calls are done in order."""
    of_sample = rows(graph)
    sizes = {number: _FLOAT_BYTES * of_sample[number] * _room(graph, number) for number in of_sample}
    alive = {item.tensor for item in graph.inputs}
    most = 1
    for call, last in zip(graph.calls, last_uses(graph), strict=True):
        alive |= set(call.outputs)
        most = max(most, sum(sizes[tensor] for tensor in alive))
        alive -= set(last)
    return most


def bytes_of(graph: Graph, tensors: Iterable[int]) -> int:
    """The bytes of a row of each of these tensors, as float32; at least 1."""
    return max(1, sum(_FLOAT_BYTES * _room(graph, tensor) for tensor in tensors))


def last_uses(graph: Graph) -> Iterator[tuple[int, ...]]:
    """For each call the tensors that nothing takes after it, its own outputs among them."""
    last: dict[int, int] = {}
    for step, call in enumerate(graph.calls):
        last.update(dict.fromkeys((*call.inputs, *call.outputs), step))
    dropped: list[list[int]] = [[] for _ in graph.calls]
    for tensor, step in last.items():
        dropped[step].append(tensor)
    yield from map(tuple, dropped)


def _room(graph: Graph, tensor: int) -> int:
    """The values of a row; open sizes count as 1."""
    return math.prod(size or 1 for size in graph.tensors[tensor].shape[1:])


def _size(graph: Graph, tensor: int) -> int:
    """The values of a row; 0 where they are open."""
    return math.prod(size or 0 for size in graph.tensors[tensor].shape[1:])
