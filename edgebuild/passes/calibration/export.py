"""A network with chosen ranges, as a function with fake-quant nodes that the converter takes the ranges from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from edgebuild.passes import loading
from edgebuild.passes.calibration.grid import Range
from edgebuild.passes.graph import building
from edgebuild.passes.graph.editing import distinct
from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref, Tensor
from edgebuild.passes.loading import Network, from_keras_model


class FakeQuant(tf_keras.layers.Layer):  # type: ignore[misc]
    """Rounds to a range of 8 bits; the converter takes the range over and leaves the node out."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._low, self._high = low, high

    def call(self, values: Any) -> Any:
        """Round values to the range."""
        return tf.quantization.fake_quant_with_min_max_args(values, self._low, self._high)

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        return {**super().get_config(), "low": self._low, "high": self._high}


def with_nodes(graph: Graph, ranges: Mapping[int, Range]) -> Graph:
    """The graph with a node behind each tensor that has a range; all that took the tensor takes the node's output."""
    layers, tensors = dict(graph.layers), dict(graph.tensors)
    behind: dict[int, int] = {}
    nodes = {}
    for tensor, chosen in ranges.items():
        name = distinct(f"range_{tensor}", layers)
        behind[tensor] = max(tensors) + 1
        tensors[behind[tensor]] = Tensor(graph.tensors[tensor].shape, "float32")
        layers[name] = Layer(name, FakeQuant, FakeQuant(chosen.low, chosen.high, name=name).get_config(), {})
        nodes[tensor] = Call(name, (Ref(tensor),), {}, (behind[tensor],))
    calls = [nodes[item.tensor] for item in graph.inputs if item.tensor in nodes]
    for call in graph.calls:
        args, kwargs = tf.nest.map_structure(
            lambda item: Ref(behind.get(item.tensor, item.tensor)) if isinstance(item, Ref) else item,
            (call.args, dict(call.kwargs)),
        )
        calls += [call._replace(args=args, kwargs=kwargs), *(nodes[t] for t in call.outputs if t in nodes)]
    outputs = tuple(behind.get(tensor, tensor) for tensor in graph.outputs)
    return graph._replace(layers=layers, calls=tuple(calls), outputs=outputs, tensors=tensors)


def _output_names(graph: Graph) -> list[str]:
    """What a model of a graph calls its outputs: as the layers that make them, where each makes one."""
    producers = graph.producers()
    names = [producers[tensor].layer if tensor in producers else "" for tensor in graph.outputs]
    if all(names) and len(set(names)) == len(names):
        return loading.distinct_identifiers(names)
    return from_keras_model(building.build(graph)).outputs


def network(graph: Graph, ranges: Mapping[int, Range], original: Graph) -> Network:
    """What `freeze.freeze` takes: the network with its ranges, its ends named as they were.

    Args:
        graph: what it computes.
        ranges: by the numbers of its tensors.
        original: the network before it was changed, for the names of the outputs and the layers: what was split from
            one of its layers counts as that.

    Raises:
        StepError: the graph is not consistent.
    """
    names = _output_names(original)
    made = from_keras_model(building.build(with_nodes(graph, ranges)))
    return made._replace(outputs=names, layers=list(original.layers))
