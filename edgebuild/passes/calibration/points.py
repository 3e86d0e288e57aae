"""The tensors of a network that can be given a range of their own on the way through the converter.

Found out by converting with TensorFlow 2.21: where a fake-quant node stands the range must arrive exactly and the
operators must stay the same. Kinds of places where they do not are left out here, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import tf_keras

from edgebuild.passes.graph.affine import BATCH_NORM
from edgebuild.passes.graph.ir import Call, Draft, Graph, Layer, Step, distinct
from edgebuild.readback import is_part

# The converter gives these outputs a range that TensorFlow Lite fixes, whatever was measured.
_FIXED = frozenset({"softmax", "log_softmax", "sigmoid", "tanh"})
# Activations that the converter makes a part of the operator before them.
_FUSED = frozenset({"linear", "relu", "relu6"})
_FUNCTIONS = frozenset({"TFOpLambda", "SlicingOpLambda"})
KERNELS = frozenset(
    {"Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"}
)
_TAKING_INPUTS = KERNELS - {"SeparableConv1D", "SeparableConv2D"}
# Layers of which the operator has an output range of its own. Not among them are recurrent layers, whose insides cannot
# be reached, nor functions: the converter finds operators (hard-swish, GELU) in chains of them, which a node breaks.
_OWN = KERNELS | BATCH_NORM | {"Activation", "Add", "Concatenate", "ELU", "LeakyReLU", "Multiply", "PReLU", "ReLU"}
_OWN |= {"GlobalAveragePooling1D", "GlobalAveragePooling2D", "Subtract"}
# In inference they do nothing, and nothing of them is in the artifact.
IDENTITIES = frozenset({"ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"})
IDENTITIES |= {"SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"}
# TensorFlow Lite wants their output on the grid of their input. A node behind one gives a QUANTIZE operator.
_PASSING = IDENTITIES | {
    "AveragePooling1D",
    "AveragePooling2D",
    "Cropping1D",
    "Cropping2D",
    "Flatten",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "Permute",
    "RepeatVector",
    "Reshape",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
}
# They want all inputs and the output on one grid: a node in front of one gives QUANTIZE operators, one behind a
# concatenation reaches its inputs too.
_JOINING = frozenset({"Concatenate", "Maximum", "Minimum"})
# What the converter surely makes operators of int8 of: behind a concatenation of anything else (ELU, a sine, a cast) a
# node asks for int8 what stays in float, and the converter refuses the network.
_INT8 = (_OWN - {"ELU"}) | {"CategoryEncoding", "Embedding", "InputLayer", "LSTM", "LayerNormalization", "Softmax"}
_INT8_FUNCTIONS = _FIXED | _FUSED | {"gelu", "swish", "silu"}


class Plan(NamedTuple):
    """A network and the places of its ranges.

    Attributes:
        graph: computes the same as the network; activations that are operators of their own are layers of their own.
        points: the numbers of the tensors that can have a range, in the order of the calls.
        logits: the numbers of the outputs, or of what goes into them through a softmax or the like.
        nodes: the points that get a node (see `_nodes`).
        floating: the layers that are not quantized, by name, with the activations split from them.
    """

    graph: Graph
    points: tuple[int, ...]
    logits: tuple[int, ...]
    nodes: tuple[int, ...]
    floating: frozenset[str]


def plan(graph: Graph, floating: Collection[str] = ()) -> Plan:
    """Find the tensors that can be given a range: inputs and all that `_OWN` makes, but for those in between.

    Args:
        graph: with batch norms folded where they can be; one behind a convolution is left to the converter to fold.
        floating: layers that are not to be quantized, by name.
    """
    graph = _with_activations_apart(graph)
    left = frozenset(layer for layer in graph.layers if any(is_part(layer, of=name) for name in floating))
    follow = _Following(graph, graph.consumers())
    made = [call.outputs[0] for call in graph.calls if follow.has_own_range(call)]
    given = [item.tensor for item in graph.inputs if follow.is_for_kernels(item.tensor)]
    found = [*given, *(tensor for tensor in made if not follow.is_between(tensor))]
    points = tuple(tensor for tensor in found if graph.tensors[tensor].dtype == "float32")
    producers = graph.producers()
    logits = tuple(_logits(graph, tensor, producers.get(tensor)) for tensor in graph.outputs)
    return Plan(graph, points, logits, _nodes(graph, points, left), left)


def _nodes(graph: Graph, points: Sequence[int], floating: Collection[str]) -> tuple[int, ...]:
    """All points but those that show what a layer in float makes.

    The converter quantizes a layer as soon as it knows the ranges on both of its sides, whatever it is asked to leave
    alone later. What a layer in float makes has its range from the converter's own calibration.
    """
    consumers, shown = graph.consumers(), set()
    for call in graph.calls:
        if call.layer not in floating:
            continue
        tensor = call.outputs[0]
        while tensor not in points and len(consumers[tensor]) == 1:
            tensor = consumers[tensor][0].outputs[0]
        shown.add(tensor)
    return tuple(point for point in points if point not in shown)


def _with_activations_apart(graph: Graph) -> Graph:
    """The graph with activations that the converter does not fuse split from their layers, so that both have ranges."""
    draft = Draft(graph)
    for call in graph.calls:
        layer = graph.layers[call.layer]
        activation = layer.config.get("activation")
        if layer.kind.__name__ in KERNELS and isinstance(activation, str) and activation not in _FUSED:
            shape = graph.tensors[call.outputs[0]].shape
            linear = layer._replace(config={**layer.config, "activation": "linear"})
            draft.replace(call, Step(linear, shape), Step(_activation(activation, layer.name, draft.layers), shape))
    return draft.graph()


def _activation(activation: str, name: str, taken: Collection[str]) -> Layer:
    kind = tf_keras.layers.Activation
    word = distinct(f"{name}/{activation}", taken)
    return Layer(word, kind, kind(activation, name=word).get_config(), {})


def _has_own_range(layer: Layer) -> bool:
    word, config = layer.kind.__name__, layer.config
    if word == "ReLU":  # of another form it is a MINIMUM or more than one operator
        return config["max_value"] in (None, 6.0) and not config["negative_slope"] and not config["threshold"]
    activation = config.get("activation", "linear")
    if word == "Activation" and activation == "linear":
        return False
    return word in _OWN and isinstance(activation, str) and activation not in _FIXED


def _logits(graph: Graph, tensor: int, producer: Call | None) -> int:
    """What goes into an output through activations that squash it, if it is such a one."""
    while producer is not None and len(producer.inputs) == 1 and _is_squashing(graph.layers[producer.layer]):
        (tensor,) = producer.inputs
        producer = graph.producers().get(tensor)
    return tensor


def _is_squashing(layer: Layer) -> bool:
    word = layer.kind.__name__
    return word == "Softmax" or (word == "Activation" and layer.config["activation"] in _FIXED)


class _Following:
    """What comes behind the tensors of a graph."""

    def __init__(self, graph: Graph, consumers: dict[int, list[Call]]) -> None:
        self._graph = graph
        self._consumers = consumers
        self._producers = graph.producers()

    def is_for_kernels(self, tensor: int) -> bool:
        """Whether only kernels take a tensor.

        Of a network's input a node becomes DEQUANTIZE and QUANTIZE where a batch norm or a separable convolution does.
        """
        takers = [self._graph.layers[call.layer].kind.__name__ for call in self._consumers[tensor]]
        return bool(takers) and tensor not in self._graph.outputs and all(word in _TAKING_INPUTS for word in takers)

    def has_own_range(self, call: Call) -> bool:
        """Whether a node behind a call reaches nothing that cannot have the range."""
        layer = self._graph.layers[call.layer]
        joins = layer.kind.__name__ == "Concatenate"
        return _has_own_range(layer) and not (joins and not all(map(self._is_of_int8, call.inputs)))

    def _is_of_int8(self, tensor: int) -> bool:
        """Whether the converter surely gives a tensor a range, and what makes it that type."""
        producer = self._producers.get(tensor)
        if producer is None:
            return self._graph.tensors[tensor].dtype == "float32"
        layer = self._graph.layers[producer.layer]
        word = layer.kind.__name__
        if word in _PASSING | _JOINING | {"SlicingOpLambda"}:
            return all(map(self._is_of_int8, producer.inputs))
        return word in _INT8 and layer.config.get("activation", "linear") in _INT8_FUNCTIONS

    def is_between(self, tensor: int) -> bool:
        """Whether a node would come between operators that the converter fuses, or grids that must be one."""
        sole = self._sole_consumer(tensor)
        return self._reaches_joining(tensor) or (sole is not None and self._is_taken_in(tensor, sole))

    def _is_taken_in(self, tensor: int, consumer: Layer) -> bool:
        word = consumer.kind.__name__
        producer = self._producers[tensor]
        if word in BATCH_NORM:
            return self._graph.layers[producer.layer].kind.__name__ in KERNELS
        is_activation = word == "ReLU" or (word == "Activation" and consumer.config["activation"] in _FUSED)
        return is_activation or word in _FUNCTIONS

    def _sole_consumer(self, tensor: int) -> Layer | None:
        """The one layer that takes a tensor, through others that only pass it on."""
        found = self._consumers[tensor]
        if len(found) != 1 or tensor in self._graph.outputs:
            return None
        layer = self._graph.layers[found[0].layer]
        return self._sole_consumer(found[0].outputs[0]) if self._passes(layer) else layer

    def _reaches_joining(self, tensor: int) -> bool:
        for call in self._consumers[tensor]:
            layer = self._graph.layers[call.layer]
            if layer.kind.__name__ in _JOINING or (self._passes(layer) and self._reaches_joining(call.outputs[0])):
                return True
        return False

    def _passes(self, layer: Layer) -> bool:
        word = layer.kind.__name__
        return word in _PASSING or (word == "Activation" and layer.config["activation"] == "linear")
