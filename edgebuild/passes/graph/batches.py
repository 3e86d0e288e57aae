"""How many rows of a batch a sample is: steps folded into the batch (TimeDistributed) are rows of their own."""

from __future__ import annotations

import math

from edgebuild.passes.graph.ir import Call, Graph, Layer


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


def _size(graph: Graph, tensor: int) -> int:
    """The values of a row; 0 where they are open."""
    return math.prod(size or 0 for size in graph.tensors[tensor].shape[1:])
