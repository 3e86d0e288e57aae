"""Weights as int8 keeps them, and how much consumers make of each channel."""

from __future__ import annotations

import numpy as np

from edgebuild.passes.equalization.scaling import Array, Factor, Scales, Scaling, with_fixed
from edgebuild.passes.graph.ir import Graph, Layer, Weights
from edgebuild.passes.surgery.channels import FIXED, Role

_LEVELS = 127  # of the narrow range: -127 to 127
_CHAIN = 3  # depthwise convolutions in a row that importance is followed through


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


def importance(graph: Graph, scaling: Scaling) -> Scales:
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
