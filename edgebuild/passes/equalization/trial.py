"""How much int8 loses around a group of channels for given scales: tried out on some samples, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes.equalization.groups import Group
from edgebuild.passes.equalization.kernels import importance, rounded
from edgebuild.passes.equalization.scaling import Array, Factor, Scales, Scaling, rescaled, with_fixed
from edgebuild.passes.equalization.statistics import Batch, Extents, rows_in_memory
from edgebuild.passes.graph.building import filled
from edgebuild.passes.graph.ir import Graph, Layer
from edgebuild.passes.graph.running import Pool, Runner
from edgebuild.passes.surgery.channels import Role

_ROWS = 32  # samples; their values at all places of all channels make up far more numbers
Shown = Mapping[int, Any]  # values of tensors


def shown(graph: Graph, batches: Sequence[Batch], groups: Sequence[Group], pool: Pool | None = None) -> Shown:
    """What groups take and make of some samples, in float."""
    needed = {tensor: None for group in groups for call in group.calls for tensor in (*call.inputs, *call.outputs)}
    rows = some_rows(batches, min(_ROWS, rows_in_memory(graph, needed)))
    return dict(zip(needed, Runner(graph, needed, pool).outputs(rows), strict=True))


class Trial:
    """A network's values on some samples, to try scales on.

    Args:
        graph: the network.
        scaling: its trace.
        extents: of the tensors that are kept in int8, on all data.
        exact: the values, as `shown` gives them.
        pool: of layers.
    """

    def __init__(self, graph: Graph, scaling: Scaling, extents: Extents, exact: Shown, pool: Pool) -> None:
        self._graph, self._scaling, self._extents = graph, scaling, extents
        self._exact, self._pool = exact, pool
        self._weight = importance(graph, scaling)
        taking = [item for item in scaling.factors if _is_in_front(item)]
        self._taking = {
            layer: scaling._replace(factors=tuple(item for item in taking if item.layer == layer))
            for layer in {item.layer for item in taking}
        }
        self._signals: dict[int, float] = {}

    def error(self, group: Group, scales: Scales) -> float:
        """The noise that int8 brings into what the group's consumers make, by its signal's power, over all of them."""
        values = {tensor: self._entering(tensor, scales) for tensor in group.tensors}
        layers, total = {name: self._rounded(name, scales) for name in group.consumers}, 0.0
        for call in group.calls:
            args, kwargs = filled(call, {**self._exact, **values})
            results = self._pool.call(layers.get(call.layer, self._graph.layers[call.layer]), args, kwargs)
            for tensor, result in zip(call.outputs, results, strict=True):
                if tensor in values and call.layer not in group.consumers:
                    values[tensor] = self._kept(tensor, result, scales)
                else:
                    total += self._noise(tensor, result)
        return total

    def _rounded(self, name: str, scales: Scales) -> Layer:
        """A layer that takes channels with scales, on the grid of the converter."""
        layer = self._graph.layers[name]
        if name in self._taking:
            layer = rescaled(self._graph, self._taking[name], scales).layers[name]
        return layer._replace(weights=rounded(layer))

    def _entering(self, tensor: int, scales: Scales) -> Any:
        """A tensor of the group as its producer makes it, with scales and in int8."""
        return self._kept(tensor, self._exact[tensor] / self._along(tensor, with_fixed(scales)), scales)

    def _kept(self, tensor: int, values: Any, scales: Scales) -> Any:
        """The values as int8 has them, where they are kept."""
        if tensor not in self._extents:
            return values
        low, high = (float(edge) for edge in edges(self._scaling, self._extents, tensor, scales))
        return tf.quantization.fake_quant_with_min_max_vars(values, low, high) if low < high else values

    def _along(self, tensor: int, by_class: Array) -> Array:
        """Values by class, placed along a tensor's scaled axis."""
        axis = self._scaling.scaled_axis(tensor)
        assert axis is not None, "other tensors are in no group"
        vector, rank = self._scaling.axes[tensor][axis], len(self._graph.tensors[tensor].shape)
        values: Array = by_class[vector].astype(np.float32)
        return values.reshape([-1 if other == axis else 1 for other in range(rank)])

    def _noise(self, tensor: int, result: Any) -> float:
        exact = self._exact[tensor]
        if not exact.dtype.is_floating:
            return 0.0
        weight = 1.0 if self._scaling.scaled_axis(tensor) is None else self._along(tensor, self._weight)
        if tensor not in self._signals:
            self._signals[tensor] = float(tf.reduce_sum((exact * weight) ** 2))
        signal = self._signals[tensor]
        return float(tf.reduce_sum(((result - exact) * weight) ** 2)) / signal if signal else 0.0


def _is_in_front(item: Factor) -> bool:
    """Whether a weight goes with the channels that its layer takes; a batch norm's mean does, too."""
    return item.role == Role.CONSUMES or item.weight == "moving_mean"


def edges(scaling: Scaling, extents: Extents, tensor: int, scales: Scales) -> tuple[float, float]:
    """The least and the largest value of a tensor with scales; 0 is always between them, as int8 must have it."""
    axis = scaling.scaled_axis(tensor)
    assert axis is not None, "only such tensors are watched"
    factors = with_fixed(scales)[scaling.axes[tensor][axis]]
    low, high = (values / factors for values in extents[tensor])
    return min(0.0, float(low.min())), max(0.0, float(high.max()))


def some_rows(batches: Sequence[Batch], count: int) -> list[Array]:
    """As many samples as asked for, spread evenly over the data: one array for each input."""
    ends = np.cumsum([len(batch[0]) for batch in batches])
    chosen = np.unique(np.linspace(0, ends[-1] - 1, min(count, int(ends[-1]))).astype(int))
    places = [(int(np.searchsorted(ends, row, side="right")), int(row)) for row in chosen]
    starts = ends - [len(batch[0]) for batch in batches]
    return [
        np.stack([batches[number][position][row - starts[number]] for number, row in places])
        for position in range(len(batches[0]))
    ]
