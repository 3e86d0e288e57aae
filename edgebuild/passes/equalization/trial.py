"""How much int8 loses around a group of channels for given scales: tried out on some samples, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.equalization.groups import Group
from edgebuild.passes.equalization.kernels import importance, rounded
from edgebuild.passes.equalization.scaling import Array, Factor, Scales, Scaling, rescaled, with_fixed
from edgebuild.passes.equalization.statistics import Batch, Extents, rows_in_memory
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Call, Graph, Ref
from edgebuild.passes.surgery.channels import Role

_ROWS = 32  # samples; their values at all places of all channels make up far more numbers


class Trial:
    """A network's values on some samples, to try scales on.

    Args:
        graph: the network.
        scaling: its trace.
        extents: of the tensors that are kept in int8, on all data.
        batches: the data.
        groups: those to be tried.
    """

    def __init__(
        self, graph: Graph, scaling: Scaling, extents: Extents, batches: Sequence[Batch], groups: Sequence[Group]
    ) -> None:
        needed = {tensor: None for group in groups for call in group.calls for tensor in (*call.inputs, *call.outputs)}
        self._graph, self._scaling, self._extents = graph, scaling, extents
        model = building.build(graph._replace(outputs=tuple(needed)))
        self._layers = {call.layer: model.get_layer(call.layer) for group in groups for call in group.calls}
        rows = some_rows(batches, min(_ROWS, rows_in_memory(graph, needed)))
        self._exact = dict(zip(needed, calling.outputs(model, [tf.constant(array) for array in rows]), strict=True))
        self._weight = importance(graph, scaling)
        self._taking = scaling._replace(factors=tuple(item for item in scaling.factors if _is_in_front(item)))

    def error(self, group: Group, scales: Scales) -> float:
        """The noise that int8 brings into what the group's consumers make, by its signal's power, over all of them."""
        values = {tensor: self._entering(tensor, scales) for tensor in group.tensors}
        self._load(group, rescaled(self._graph, self._taking, scales))
        total = 0.0
        for call in group.calls:
            results = self._called(call, values)
            for tensor, result in zip(call.outputs, results, strict=True):
                if tensor in values and call.layer not in group.consumers:
                    values[tensor] = self._kept(tensor, result, scales)
                else:
                    total += self._noise(tensor, result)
        return total

    def _called(self, call: Call, values: Mapping[int, Any]) -> list[Any]:
        args, kwargs = tf.nest.map_structure(
            lambda item: values.get(item.tensor, self._exact[item.tensor]) if isinstance(item, Ref) else item,
            (call.args, dict(call.kwargs)),
        )
        return list(tf.nest.flatten(self._layers[call.layer](*args, **kwargs)))

    def _load(self, group: Group, graph: Graph) -> None:
        for name in group.consumers & self._layers.keys():
            self._layers[name].set_weights(list(rounded(graph.layers[name]).values()))

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
        noise, signal = (float(tf.reduce_sum((item * weight) ** 2)) for item in (result - exact, exact))
        return noise / signal if signal else 0.0


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
