"""A tf_keras model built from a graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes.graph.ir import Graph, Layer, Ref
from edgebuild.passes.graph.reading import weights_of


def build(graph: Graph) -> tf_keras.Model:
    """A functional model that computes what the graph says; layers and inputs keep their names.

    Raises:
        StepError: a layer cannot be made or called: the graph is not consistent.
    """
    layers = {name: _make(layer) for name, layer in graph.layers.items()}
    tensors: dict[int, Any] = {}
    for item in graph.inputs:
        known = graph.tensors[item.tensor]
        tensors[item.tensor] = tf_keras.Input(known.shape[1:], known.shape[0], name=item.name, dtype=known.dtype)
    for call in graph.calls:
        args, kwargs = tf.nest.map_structure(
            lambda item: tensors[item.tensor] if isinstance(item, Ref) else item, (call.args, dict(call.kwargs))
        )
        try:
            results = layers[call.layer](*args, **kwargs)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise StepError(f"the layer {call.layer} does not fit the network", str(error).splitlines()[0]) from error
        tensors.update(zip(call.outputs, tf.nest.flatten(results), strict=True))
    inputs = [tensors[item.tensor] for item in graph.inputs]
    outputs = [tensors[number] for number in graph.outputs]
    model = tf_keras.Model(
        inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs, name=graph.name
    )
    for name, layer in graph.layers.items():
        if layer.weights:
            layers[name].set_weights(list(layer.weights.values()))
    return model


def _make(layer: Layer) -> Any:
    try:
        return layer.kind.from_config(dict(layer.config))  # type: ignore[attr-defined]
    except (ValueError, TypeError, KeyError) as error:
        raise StepError(f"the layer {layer.name} cannot be made", str(error).splitlines()[0]) from error


def learned(graph: Graph, model: tf_keras.Model) -> Graph:
    """The graph with the weights that a model built of it has now."""
    return graph._replace(
        layers={name: layer._replace(weights=weights_of(model.get_layer(name))) for name, layer in graph.layers.items()}
    )
