"""A tf_keras model built from a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref
from edgebuild.passes.graph.reading import weights_of


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
