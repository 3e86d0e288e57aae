"""How many rows of a batch a sample is: steps folded into the batch (TimeDistributed) are rows of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from edgebuild.passes.graph.ir import Call, Graph, Layer

_FLOAT_BYTES = 4


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
