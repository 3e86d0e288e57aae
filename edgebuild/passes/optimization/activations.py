"""Activations that tfmot does not round inside of a layer, made layers of their own."""

from __future__ import annotations

import tf_keras

from edgebuild.passes.graph import building, reading
from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref

INNER = frozenset({"linear", "relu", "softmax", "sigmoid", "tanh", "swish", "gelu"})
"""What tfmot rounds inside of a layer."""

_KINDS = frozenset({"Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D"})


def with_own_layers(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of a model that computes the same, with other activations than those above behind their layers.

    Raises:
        StepError: the structure of the model is not known.
    """
    graph = reading.read(model)
    for layer in list(graph.layers.values()):
        name = layer.config.get("activation")
        if layer.kind.__name__ in _KINDS and isinstance(name, str) and name not in INNER:
            graph = _split(graph, layer, name)
    return building.build(graph)


def _split(graph: Graph, layer: Layer, activation: str) -> Graph:
    kind = tf_keras.layers.Activation
    own = f"{layer.name}_{activation}"
    behind = Layer(own, kind, {**kind(activation).get_config(), "name": own}, {})
    layers = {**graph.layers, layer.name: layer._replace(config={**layer.config, "activation": "linear"}), own: behind}
    tensors = dict(graph.tensors)
    calls = []
    for call in graph.calls:
        if call.layer == layer.name:
            between, (output,) = len(tensors), call.outputs
            tensors[between] = tensors[output]
            calls += [call._replace(outputs=(between,)), Call(own, (Ref(between),), {}, (output,))]
        else:
            calls.append(call)
    return graph._replace(layers=layers, calls=tuple(calls), tensors=tensors)
