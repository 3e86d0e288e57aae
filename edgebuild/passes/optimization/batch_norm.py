"""Batch normalization behind a convolution, with scales that are not negative.

The converter multiplies a kernel by the scale of the batch normalization behind it. A negative one turns the signs of a
channel around, so that a kernel of n different values becomes one of up to twice as many; for one that is zero it makes
up a scale of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tf_keras

from edgebuild.passes.graph import building, reading
from edgebuild.passes.graph.ir import Graph, Layer, Weights

SMALLEST_SCALE = 1e-6
"""What stands for a scale of zero: what is left of its channel is far below the rounding of eight bits."""

_KERNELS = {"Conv1D": "kernel", "Conv2D": "kernel", "Dense": "kernel", "SeparableConv2D": "pointwise_kernel"}
_NORMS = frozenset({"BatchNormalization", "SyncBatchNormalization"})
# What negating a layer's outputs negates in the normalization behind it, beside the scale.
_NEGATED = ("gamma", "moving_mean")


class _Pair(NamedTuple):
    """A layer with a kernel, and the batch normalization that alone reads it."""

    layer: str
    norm: str


def with_positive_scales(model: tf_keras.Model) -> tf_keras.Model:
    """A model that computes the same, whose batch normalizations behind convolutions have positive scales.

    Channels with a negative one have the signs of their weights turned around, in the kernel and in the normalization.

    Raises:
        StepError: the structure of the model is not known.
    """
    graph = reading.read(model)
    layers = dict(graph.layers)
    for pair in _pairs(graph):
        kernel, norm = layers[pair.layer], layers[pair.norm]
        sign = np.where(norm.weights["gamma"] < 0, -1.0, 1.0).astype(np.float32)
        layers[pair.layer] = kernel._replace(weights=_scaled(kernel.weights, _of(kernel), sign))
        turned = _scaled(norm.weights, _NEGATED, sign)
        layers[pair.norm] = norm._replace(weights={**turned, "gamma": np.maximum(turned["gamma"], SMALLEST_SCALE)})
    return building.build(graph._replace(layers=layers))


def _pairs(graph: Graph) -> Iterator[_Pair]:
    consumers, producers = graph.consumers(), graph.producers()
    for call in graph.calls:
        norm = graph.layers[call.layer]
        if norm.kind.__name__ not in _NORMS or "gamma" not in norm.weights or len(call.inputs) != 1:
            continue
        (tensor,) = call.inputs
        maker = producers.get(tensor)
        if maker is None or len(consumers[tensor]) != 1 or tensor in graph.outputs:
            continue
        layer = graph.layers[maker.layer]
        once = all(len(list(graph.calls_of(name))) == 1 for name in (call.layer, maker.layer))
        if once and layer.kind.__name__ in _KERNELS and layer.config.get("activation", "linear") in (None, "linear"):
            yield _Pair(maker.layer, call.layer)


def _of(layer: Layer) -> tuple[str, ...]:
    return (_KERNELS[layer.kind.__name__], "bias")


def _scaled(weights: Weights, names: tuple[str, ...], factor: Any) -> Weights:
    """The weights with those named multiplied along their last axis, the channels."""
    return {name: array * factor if name in names else array for name, array in weights.items()}
