"""High biases moved to where they cost nothing (Nagel et al. 2019, section 4.1.3).

A channel behind a ReLU that is never below c > 0 wastes the part of the range below c: c is taken from the producer's
bias, and what it makes of the consumers' outputs is added to their biases. Exact wherever the channel stays above c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from edgebuild.passes.equalization.scaling import Array
from edgebuild.passes.equalization.statistics import Extents, is_relu
from edgebuild.passes.graph import affine as affines
from edgebuild.passes.graph.affine import Affine, BlockedError, absorptions
from edgebuild.passes.graph.ir import Call, Graph

_WORTH = 0.05  # of a channel's largest value: less than this is not worth what unseen inputs may lose


class Rectified(NamedTuple):
    """A tensor behind a ReLU, and the layer that makes it, activation aside."""

    tensor: int
    producer: str


class Absorbed(NamedTuple):
    """A graph, and how many channels of it lost a part of their bias."""

    graph: Graph
    channels: int


def rectified(graph: Graph) -> Iterator[Rectified]:
    """All tensors behind a ReLU (not a ReLU6) of which the last axis is made by one layer alone."""
    producers, consumers = graph.producers(), graph.consumers()
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if is_relu(layer, (math.inf,)) and call.inputs[0] in producers and len(consumers[call.inputs[0]]) == 1:
            before = producers[call.inputs[0]]
            linear = graph.layers[before.layer].config.get("activation") == "linear"
            if linear and before.outputs[0] not in graph.outputs and _is_producer(graph, before):
                yield Rectified(call.outputs[0], before.layer)
        elif layer.config.get("activation") == "relu" and _is_producer(graph, call):
            yield Rectified(call.outputs[0], layer.name)


def absorb(graph: Graph, lows: Mapping[int, Array], extents: Extents) -> Absorbed:
    """Move all high biases that can be moved exactly.

    Args:
        graph: the network.
        lows: for tensors behind a ReLU, what each channel is never below; others are left alone.
        extents: of the same tensors where they are known, to leave out what is not worth it.
    """
    channels = 0
    for item in rectified(graph):
        if item.tensor not in lows:
            continue
        low = lows[item.tensor]
        high = extents[item.tensor].high if item.tensor in extents else np.zeros_like(low)
        shift = np.where(low > _WORTH * high, np.maximum(low, 0.0), 0.0)
        if shift.any():
            graph, count = _moved(graph, item, shift)
            channels += count
    return Absorbed(graph, channels)


def _moved(graph: Graph, item: Rectified, shift: Array) -> tuple[Graph, int]:
    ones = np.ones_like(shift)
    try:
        found = absorptions(graph, item.tensor, Affine(ones, shift))
    except BlockedError:
        return graph, 0
    if not found:
        return graph, 0
    layers = dict(graph.layers)
    layers[item.producer] = affines.after(layers[item.producer], Affine(ones, -shift))
    for target in found:
        layers[target.layer] = affines.before(layers[target.layer], target.affine)
    return graph._replace(layers=layers), int(np.count_nonzero(shift))


def _is_producer(graph: Graph, call: Call) -> bool:
    layer = graph.layers[call.layer]
    once = len(list(graph.calls_of(layer.name))) == 1
    last = layer.config.get("data_format", "channels_last") == "channels_last"
    return once and last and affines.takes_before(layer)
