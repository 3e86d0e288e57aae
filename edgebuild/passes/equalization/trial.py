"""How much int8 loses around a group of channels for given scales: in weights, and tried out on some samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.passes.equalization.scaling import Array, Factor, Group, Scales, Scaling, rescaled, with_fixed
from edgebuild.passes.equalization.statistics import Batch, Extents, rows_in_memory
from edgebuild.passes.graph.building import filled
from edgebuild.passes.graph.ir import Graph, Layer, Weights
from edgebuild.passes.graph.running import Pool, Runner
from edgebuild.passes.surgery.channels import FIXED, Role

_ROWS = 32  # samples; their values at all places of all channels make up far more numbers
Shown = Mapping[int, Any]  # values of tensors
_LEVELS = 127  # of the narrow range: -127 to 127
_CHAIN = 3  # depthwise convolutions in a row that importance is followed through


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
        self._weight = _importance(graph, scaling)
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


def granular(layer: Layer, weight: str, rank: int) -> tuple[int, ...]:
    """The axes of a weight along which each position has an int8 step of its own: its outputs."""
    if weight == "depthwise_kernel":
        return (rank - 2, rank - 1)
    if weight == "gamma":
        return ()  # the converter makes a plain product of it, with one step for all
    return (rank - 2,) if layer.kind.__name__.endswith("Transpose") else (rank - 1,)


def rounded(layer: Layer) -> Weights:
    """The weights of a layer, those with inputs and outputs on the int8 grid of the converter."""
    return {name: _rounded(layer, name, w) if _is_kernel(name) else w for name, w in layer.weights.items()}


def _is_kernel(name: str) -> bool:
    return name in ("kernel", "depthwise_kernel", "pointwise_kernel", "gamma")


def _rounded(layer: Layer, name: str, array: Array) -> Array:
    deviation = _deviation(layer, name)
    scaled = array / deviation
    step = np.abs(scaled).max(_others(layer, name, array), keepdims=True) / _LEVELS
    step = np.where(step > 0, step, 1)
    result: Array = (np.round(scaled / step) * step * deviation).astype(array.dtype)
    return result


def _deviation(layer: Layer, name: str) -> Array:
    """What a weight is divided by before the converter rounds it: 1, but for a batch norm's gamma."""
    if name != "gamma" or "moving_variance" not in layer.weights:
        return np.ones(1)
    found: Array = np.sqrt(layer.weights["moving_variance"].astype(np.float64) + layer.config["epsilon"])
    return found


def _others(layer: Layer, name: str, array: Array) -> tuple[int, ...]:
    kept = granular(layer, name, array.ndim)
    return tuple(axis for axis in range(array.ndim) if axis not in kept)


def taken(graph: Graph, scaling: Scaling) -> Scales:
    """By class how large the weights are with which consumers take its channels, in proportion to the others.

    A root mean square over a consumer's outputs, each relative to all its weights: what the next layer's outputs are
    scaled by does not count, as each has its own step. 0 for classes of which only depthwise convolutions take
    channels, for which it does not matter.
    """
    result = np.zeros(scaling.classes)
    for item, layer, weights in _consumers(graph, scaling):
        if not _has_own_steps(layer, item):
            squares = weights**2
            means = squares.mean(_others(layer, item.weight, weights), keepdims=True)
            shares = np.divide(squares, means, out=np.zeros_like(squares), where=means > 0)
            result = np.maximum(result, _root_mean(shares, item, scaling.classes))
    return result


def _importance(graph: Graph, scaling: Scaling) -> Scales:
    """By class how much a difference in its channels matters to consumers; as `taken`, but through depthwise ones too.

    The last entry is for FIXED.
    """
    direct = taken(graph, scaling)
    result = direct
    behind = {(item.layer, item.weight): item.classes for item in scaling.factors if item.role == Role.PRODUCES}
    for _ in range(_CHAIN):
        found = direct.copy()
        for item, layer, weights in _consumers(graph, scaling):
            if _has_own_steps(layer, item) and (item.layer, item.weight) in behind:
                matter = weights * with_fixed(result)[behind[item.layer, item.weight]]
                found = np.maximum(found, _root_mean(matter**2, item, scaling.classes))
        result = found
    usual = float(result[result > 0].mean()) if result.any() else 1.0
    return with_fixed(np.where(result > 0, result, usual), usual)


def _consumers(graph: Graph, scaling: Scaling) -> list[tuple[Factor, Layer, Array]]:
    layers = graph.layers
    return [
        (item, layers[item.layer], _computing(layers[item.layer], item.weight))
        for item in scaling.factors
        if item.role == Role.CONSUMES
    ]


def _computing(layer: Layer, name: str) -> Array:
    """A weight as the converter has it in the end."""
    array: Array = layer.weights[name].astype(np.float64) / _deviation(layer, name)
    return array


def _has_own_steps(layer: Layer, item: Factor) -> bool:
    """Whether each input channel has steps that it shares with no other: then its scale costs its consumer nothing."""
    array = layer.weights[item.weight]
    varying = {axis for axis, size in enumerate(item.classes.shape) if size > 1}
    mixed = set(_others(layer, item.weight, array)) & {array.ndim - 2, array.ndim - 1}
    return varying <= set(granular(layer, item.weight, array.ndim)) and all(array.shape[axis] == 1 for axis in mixed)


def _root_mean(squares: Array, item: Factor, count: int) -> Scales:
    """By class the root of the mean of the squares of its elements."""
    classes = np.broadcast_to(item.classes, squares.shape).ravel()
    inside = classes != FIXED
    sums = np.bincount(classes[inside], squares.ravel()[inside], count)
    numbers = np.bincount(classes[inside], minlength=count)
    result: Scales = np.sqrt(sums / np.maximum(numbers, 1))
    return result
