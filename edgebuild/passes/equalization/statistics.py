"""Which tensors an int8 network keeps, and the least and largest value of each of their channels on data."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.passes.equalization.scaling import Array, Scales, Scaling
from edgebuild.passes.equalization.tracing import cap_of, cap_of_relu
from edgebuild.passes.graph import affine, running as runs
from edgebuild.passes.graph.ir import Call, Graph, Layer
from edgebuild.passes.graph.running import Pool, Runner

Batch = Sequence[Array]
"""One array for each input of the network."""

_MEMORY_BYTES = 128_000_000  # of activations that are kept at once
_FLOAT_BYTES = 4
# The operators of TFLite that do a ReLU behind them at once: what lies between is never int8.
_FUSING = frozenset(
    [
        *("Add", "AveragePooling2D", "BatchNormalization", "Conv1D", "Conv2D", "Dense", "DepthwiseConv1D"),
        *("DepthwiseConv2D", "Multiply", "SeparableConv1D", "SeparableConv2D", "Subtract"),
    ]
)
_FUSED = (6.0, math.inf)  # RELU6 and RELU


class Extent(NamedTuple):
    """The least and the largest value at each position of a tensor's scaled axis."""

    low: Array
    high: Array

    @property
    def largest(self) -> Array:
        """The largest absolute value at each position."""
        found: Array = np.maximum(-self.low, self.high)
        return found


Extents = Mapping[int, Extent]


def points(graph: Graph, scaling: Scaling) -> dict[int, int]:
    """The tensors with scales that int8 keeps, each with its scaled axis: not those that a ReLU follows at once."""
    producers, consumers = graph.producers(), graph.consumers()
    found = {}
    for tensor in graph.tensors:
        axis = scaling.scaled_axis(tensor)
        if axis is not None and not _is_fused(graph, producers.get(tensor), consumers[tensor], tensor):
            found[tensor] = axis
    return found


def _is_fused(graph: Graph, before: Call | None, behind: list[Call], tensor: int) -> bool:
    if before is None or len(behind) != 1 or tensor in graph.outputs:
        return False
    layer, follower = graph.layers[before.layer], graph.layers[behind[0].layer]
    linear = layer.config.get("activation") in (None, "linear")
    foldable = follower.kind.__name__ in affine.BATCH_NORM and affine.takes_before(layer)
    fusable = layer.kind.__name__ in _FUSING and is_relu(follower, _FUSED)
    return linear and (foldable or fusable)


def is_relu(layer: Layer, caps: Collection[float]) -> bool:
    """Whether a layer is a ReLU and nothing else, cut off at one of these values (infinity: nowhere)."""
    kind, config = layer.kind.__name__, layer.config
    if kind == "ReLU":
        return not config.get("negative_slope") and cap_of_relu(config) in caps
    if kind == "Activation":
        return config["activation"] in ("relu", "relu6") and cap_of(config["activation"]) in caps
    return kind == "TFOpLambda" and {"nn.relu": math.inf, "nn.relu6": 6.0}.get(config["function"]) in caps


def extents(graph: Graph, tensors: Mapping[int, int], batches: Sequence[Batch], pool: Pool | None = None) -> Extents:
    """Run the network on all data, in parts that fit into memory.

    Args:
        graph: the network.
        tensors: those to be watched, each with the axis whose positions are told apart.
        batches: the data.
        pool: of layers.
    """
    if not tensors:
        return {}
    runner, rows = Runner(graph, tensors, pool, keeps=False), rows_alive(graph)
    found = {tensor: (np.float32(np.inf), np.float32(-np.inf)) for tensor in tensors}
    for batch in batches:
        for start in range(0, len(batch[0]), rows):
            for tensor, values in runner.tensors([array[start : start + rows] for array in batch]):
                if tensor in tensors:
                    least, most = _reduced(values, tensors[tensor])
                    low, high = found[tensor]
                    found[tensor] = np.minimum(low, least.numpy()), np.maximum(high, most.numpy())
    return {
        tensor: Extent(np.asarray(low, np.float64), np.asarray(high, np.float64))
        for tensor, (low, high) in found.items()
    }


def together(*parts: Extents) -> Extents:
    """The extents of all data, where each of these is of a part of them."""
    return {
        tensor: Extent(
            np.minimum.reduce([part[tensor].low for part in parts]),
            np.maximum.reduce([part[tensor].high for part in parts]),
        )
        for tensor in parts[0]
    }


def rows_alive(graph: Graph) -> int:
    """How many samples may go through the network together: at least one, where no tensor is kept for longer."""
    return max(1, _MEMORY_BYTES // runs.bytes_alive(graph))


def rows_in_memory(graph: Graph, tensors: Mapping[int, Any]) -> int:
    """How many samples' values of these tensors may be kept at once: at least one."""
    rows = runs.rows(graph)
    sizes = (rows[tensor] * math.prod(size or 1 for size in graph.tensors[tensor].shape[1:]) for tensor in tensors)
    return max(1, _MEMORY_BYTES // (_FLOAT_BYTES * max(1, sum(sizes))))


def _reduced(values: Any, axis: int) -> tuple[Any, Any]:
    others = [other for other in range(values.shape.rank) if other != axis]
    return tf.reduce_min(values, others), tf.reduce_max(values, others)


def amplitudes(scaling: Scaling, found: Extents) -> Scales:
    """By class the largest absolute value that its channels have in any tensor; 0 where none was watched."""
    result = np.zeros(scaling.classes)
    for tensor, extent in found.items():
        result = np.maximum(result, scaling.largest(tensor, extent.largest))
    return result
