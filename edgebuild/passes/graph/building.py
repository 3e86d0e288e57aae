"""A tf_keras model read into a graph, with the models nested in it taken apart, and one built from a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.layers.core.tf_op_layer import TFOpLambda  # it is nowhere else

from edgebuild.errors import StepError
from edgebuild.passes import naming, time_distributed
from edgebuild.passes.graph.ir import Call, Graph, Input, Layer, Ref, Shape, Tensor, Weights, distinct

# What Keras keeps in a first layer's config; in a graph an input is a thing of its own.
_OF_INPUTS = frozenset({"batch_input_shape"})


def read(model: tf_keras.Model) -> Graph:
    """The graph of a model; the model itself is not changed.

    Raises:
        StepError: it is no functional or sequential model (its structure is known to Python alone).
    """
    _require_graph(model)
    reader = _Reader(naming.names(model))
    inputs = []
    for tensor in model.inputs:
        number = reader.new(tensor)
        reader.numbers[id(tensor)] = number
        inputs.append(Input(_history(tensor).layer.name, number))
    reader.walk(model)
    outputs = tuple(reader.numbers[id(tensor)] for tensor in model.outputs)
    return Graph(model.name, reader.layers, tuple(reader.calls), tuple(inputs), outputs, reader.tensors)


class _Reader:
    """Walks a model and the models in it. `numbers` holds the tensor that each Keras tensor stands for just now."""

    def __init__(self, known: Mapping[int, str]) -> None:
        self._known = known
        self.layers: dict[str, Layer] = {}
        self.calls: list[Call] = []
        self.tensors: dict[int, Tensor] = {}
        self.numbers: dict[int, int] = {}
        self._names: dict[int, str] = {}  # of layers, by identity

    def new(self, tensor: Any) -> int:
        number = len(self.tensors)
        self.tensors[number] = Tensor(tuple(tensor.shape), tensor.dtype.name)
        return number

    def walk(self, model: tf_keras.Model) -> None:
        """Append the calls of a model whose inputs have their numbers already."""
        _require_graph(model)
        for node in _nodes(model):
            if isinstance(node.layer, tf_keras.Model):
                self._inline(node)
            elif _is_model_for_steps(node):
                self._steps(node)
            else:
                self._append(node)

    def _inline(self, node: Any) -> None:
        inner = node.layer
        _require_graph(inner)
        given = [self.numbers[id(tensor)] for tensor in node.keras_inputs]
        if len(given) != len(inner.inputs):
            raise StepError(f"the model {inner.name} inside the network is called in a way that cannot be followed")
        self.numbers.update(zip(map(id, inner.inputs), given, strict=True))
        self.walk(inner)
        results = [self.numbers[id(tensor)] for tensor in inner.outputs]
        self.numbers.update(zip(map(id, tf.nest.flatten(node.outputs)), results, strict=True))

    def _steps(self, node: Any) -> None:
        """A model for each step of a tensor: the steps become a batch, of which the model is taken apart."""
        inner, name = node.layer.layer, self._known.get(id(node.layer), node.layer.name)
        _require_graph(inner)
        given = self.numbers[id(node.keras_inputs[0])]
        batch, steps, *rest = self.tensors[given].shape
        count = None if batch is None or steps is None else batch * steps
        rows = self._reshaped(f"{name}/rows", given, (count, *rest))
        self.numbers[id(inner.inputs[0])] = rows
        self.walk(inner)
        for made, result in zip(tf.nest.flatten(node.outputs), inner.outputs, strict=True):
            number = self.numbers[id(result)]
            self.numbers[id(made)] = self._reshaped(name, number, (batch, steps, *self.tensors[number].shape[1:]))

    def _reshaped(self, name: str, tensor: int, shape: Shape) -> int:
        """A reshape of a tensor, which may be between batches of other sizes as no layer's is."""
        word = distinct(name, self.layers)
        self.layers[word] = Layer(word, TFOpLambda, TFOpLambda(tf.reshape, name=word).get_config(), {})
        number = len(self.tensors)
        self.tensors[number] = self.tensors[tensor]._replace(shape=shape)
        self.calls.append(
            Call(word, (Ref(tensor), tuple(-1 if size is None else size for size in shape)), {}, (number,))
        )
        return number

    def _append(self, node: Any) -> None:
        args, kwargs = tf.nest.map_structure(self._ref, (tuple(node.call_args), dict(node.call_kwargs)))
        outputs = tf.nest.flatten(node.outputs)
        numbers = tuple(self.new(tensor) for tensor in outputs)
        self.numbers.update(zip(map(id, outputs), numbers, strict=True))
        self.calls.append(Call(self._layer(node.layer), args, kwargs, numbers))

    def _ref(self, item: Any) -> Any:
        return Ref(self.numbers[id(item)]) if id(item) in self.numbers and tf.is_tensor(item) else item

    def _layer(self, layer: Any) -> str:
        """The name of a layer in the graph: two nested models may have used the same one."""
        if id(layer) not in self._names:
            name = distinct(self._known.get(id(layer), layer.name), self.layers)
            config = {key: _plain(value) for key, value in layer.get_config().items() if key not in _OF_INPUTS}
            self._names[id(layer)] = name
            self.layers[name] = Layer(name, type(layer), {**config, "name": name}, weights_of(layer))
        return self._names[id(layer)]


def _plain(value: Any) -> Any:
    """A value of a config without what Keras wraps around lists and dicts that it tracks."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _is_model_for_steps(node: Any) -> bool:
    """Whether a call is of a TimeDistributed layer around a model, whose steps can be computed together."""
    layer = node.layer
    if not time_distributed.is_one(layer) or not isinstance(layer.layer, tf_keras.Model):
        return False
    return node.call_kwargs.get("mask") is None and time_distributed.can_fold(layer, node.keras_inputs[0])


def weights_of(layer: Any) -> Weights:
    """The arrays of a tf_keras layer by short names, in the order of `get_weights`."""
    arrays: dict[str, Any] = {}
    for variable, array in zip(layer.weights, layer.get_weights(), strict=True):
        arrays[distinct(variable.name.split("/")[-1].split(":")[0], arrays)] = np.asarray(array)
    return arrays


def _nodes(model: Any) -> Iterator[Any]:
    """The calls of a model in the order in which they can be done, without its inputs."""
    for depth in sorted(model._nodes_by_depth, reverse=True):  # the only place where Keras keeps this
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def _history(tensor: Any) -> Any:
    return tensor._keras_history


def _require_graph(model: Any) -> None:
    if not getattr(model, "_is_graph_network", False):
        raise StepError(
            f"the structure of the model {model.name} is not known",
            "It is a subclassed model (or was never given its input's shape): Keras keeps no graph of it.",
            "Build it with the functional API, or as a Sequential with an Input.",
        )


def build(graph: Graph) -> tf_keras.Model:
    """A functional model that computes what the graph says; layers and inputs keep their names.

    Raises:
        StepError: a layer cannot be made or called: the graph is not consistent.
    """
    layers = {name: make(layer) for name, layer in graph.layers.items()}
    tensors: dict[int, Any] = {}
    for item in graph.inputs:
        known = graph.tensors[item.tensor]
        tensors[item.tensor] = tf_keras.Input(known.shape[1:], known.shape[0], name=item.name, dtype=known.dtype)
    inputs = list(tensors.values())
    outputs = run(graph, layers, tensors)
    model = tf_keras.Model(
        inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs, name=graph.name
    )
    for name, layer in graph.layers.items():
        if layer.weights:
            layers[name].set_weights(list(layer.weights.values()))
    return model


def run(graph: Graph, layers: Mapping[str, Any], given: Mapping[int, Any]) -> list[Any]:
    """The outputs of a graph, computed by layers that were made of it, or of one of which it is a part.

    Args:
        graph: what is computed.
        layers: by name.
        given: the tensors of its inputs, by their numbers.

    Raises:
        StepError: a layer cannot be called: the graph is not consistent.
    """
    tensors = dict(given)
    for call in graph.calls:
        args, kwargs = filled(call, tensors)
        try:
            results = layers[call.layer](*args, **kwargs)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise StepError(f"the layer {call.layer} does not fit the network", str(error).splitlines()[0]) from error
        tensors.update(zip(call.outputs, tf.nest.flatten(results), strict=True))
    return [tensors[number] for number in graph.outputs]


def filled(call: Call, values: Mapping[int, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call with tensors in the place of their numbers."""
    args = [_filled(item, values) for item in call.args]
    return args, {name: _filled(item, values) for name, item in call.kwargs.items()}


def _filled(item: Any, values: Mapping[int, Any]) -> Any:
    if isinstance(item, Ref):
        return values[item.tensor]
    if isinstance(item, list | tuple | dict):
        return tf.nest.map_structure(lambda part: values[part.tensor] if isinstance(part, Ref) else part, item)
    return item


def make(layer: Layer) -> Any:
    """A layer of Keras without the weights.

    Raises:
        StepError: it cannot be made from its config.
    """
    try:
        return layer.kind.from_config(dict(layer.config))  # type: ignore[attr-defined]
    except (ValueError, TypeError, KeyError) as error:
        raise StepError(f"the layer {layer.name} cannot be made", str(error).splitlines()[0]) from error


def learned(graph: Graph, model: tf_keras.Model) -> Graph:
    """The graph with the weights that a model built of it has now."""
    return graph._replace(
        layers={name: layer._replace(weights=weights_of(model.get_layer(name))) for name, layer in graph.layers.items()}
    )
