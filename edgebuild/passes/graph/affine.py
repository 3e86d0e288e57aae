"""Batch normalization as what it is after training, a scale and a shift by channel, and layers that take it over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tf_keras

from edgebuild.passes.graph.ir import Layer, Weights

Array = npt.NDArray[Any]

BATCH_NORM = frozenset({"BatchNormalization", "SyncBatchNormalization"})


class Affine(NamedTuple):
    """`scale * x + shift`, each a vector of float64 over the channels."""

    scale: Array
    shift: Array


def of_batch_norm(layer: Layer) -> Affine:
    """What a batch norm computes outside of training (Ioffe and Szegedy 2015, section 3.1, algorithm 2)."""
    mean, variance = (layer.weights[name].astype(np.float64) for name in ("moving_mean", "moving_variance"))
    scale = layer.weights.get("gamma", np.ones_like(mean)) / np.sqrt(variance + layer.config["epsilon"])
    return Affine(scale, layer.weights.get("beta", np.zeros_like(mean)) - mean * scale)


def takes_before(layer: Layer) -> bool:
    """Whether `after` knows the class: it has a kernel of which the output is linear, and a bias."""
    return layer.kind.__name__ in _AFTER


def takes_behind(layer: Layer) -> bool:
    """Whether `before` knows the class."""
    return layer.kind.__name__ in _BEFORE


def after(layer: Layer, affine: Affine) -> Layer:
    """A linear layer that does an affine too, on what it made before; it has a bias then."""
    name, scaled = _AFTER[layer.kind.__name__](layer, affine.scale)
    bias = layer.weights.get("bias", np.zeros_like(affine.shift)) * affine.scale + affine.shift
    return _with(layer, {name: scaled}, bias)


def before(layer: Layer, affine: Affine) -> Layer:
    """A linear layer that does an affine first, on what it was given; it has a bias then.

    Exact where every output position sees as many inputs as the kernel has: not at edges padded with zeros.
    """
    kernels, extra = _BEFORE[layer.kind.__name__](layer, affine)
    return _with(layer, kernels, layer.weights.get("bias", np.zeros_like(extra)) + extra)


def scaling(layer: Layer, scale: Array, shift: Array | None = None) -> Layer:
    """A depthwise 1x1 convolution in a layer's place that scales the last of four axes, and shifts it."""
    config = tf_keras.layers.DepthwiseConv2D(
        1,
        use_bias=shift is not None,
        name=layer.name,
        trainable=layer.config.get("trainable", True),
        dtype=layer.config.get("dtype", "float32"),
    ).get_config()
    weights = {"depthwise_kernel": scale.reshape(1, 1, -1, 1).astype(np.float32)}
    if shift is not None:
        weights["bias"] = shift.astype(np.float32)
    return Layer(layer.name, tf_keras.layers.DepthwiseConv2D, config, weights)


def _with(layer: Layer, kernels: Weights, bias: Array) -> Layer:
    dtype = next(iter(layer.weights.values())).dtype
    arrays = {name: array for name, array in {**layer.weights, **kernels}.items() if name != "bias"}
    return layer._replace(
        config={**layer.config, "use_bias": True},
        weights={name: np.asarray(array, dtype) for name, array in (*arrays.items(), ("bias", bias))},
    )


# By class: the name of the weight that makes the outputs, and that weight with each output scaled.


def _last(layer: Layer, scale: Array) -> tuple[str, Array]:
    return "kernel", layer.weights["kernel"] * scale


def _last_but_one(layer: Layer, scale: Array) -> tuple[str, Array]:
    return "kernel", layer.weights["kernel"] * scale[:, None]


def _depthwise(layer: Layer, scale: Array) -> tuple[str, Array]:
    kernel = layer.weights["depthwise_kernel"]
    return "depthwise_kernel", kernel * scale.reshape(kernel.shape[-2:])


def _pointwise(layer: Layer, scale: Array) -> tuple[str, Array]:
    return "pointwise_kernel", layer.weights["pointwise_kernel"] * scale


_AFTER: dict[str, Callable[[Layer, Array], tuple[str, Array]]] = {
    "Conv1D": _last,
    "Conv1DTranspose": _last_but_one,
    "Conv2D": _last,
    "Conv2DTranspose": _last_but_one,
    "Conv3D": _last,
    "Conv3DTranspose": _last_but_one,
    "Dense": _last,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv1D": _pointwise,
    "SeparableConv2D": _pointwise,
}

# By class: the weights with each input scaled, and what the shift adds to each output.


def _before_convolution(layer: Layer, affine: Affine) -> tuple[Weights, Array]:
    """Of groups, too: each has its part of the inputs and of the outputs."""
    groups = int(layer.config.get("groups", 1))
    kernel = layer.weights["kernel"].astype(np.float64)
    parted = kernel.reshape(*kernel.shape[:-1], groups, -1)
    scale, shift = (vector.reshape(groups, -1).T[..., None] for vector in affine)
    extra = (parted * shift).reshape(-1, kernel.shape[-1]).sum(0)
    return {"kernel": (parted * scale).reshape(kernel.shape)}, extra


def _before_depthwise(layer: Layer, affine: Affine) -> tuple[Weights, Array]:
    kernel = layer.weights["depthwise_kernel"].astype(np.float64)
    scale, shift = (vector[:, None] for vector in affine)
    spatial = tuple(range(kernel.ndim - 2))
    return {"depthwise_kernel": kernel * scale}, (kernel * shift).sum(spatial).reshape(-1)


def _before_separable(layer: Layer, affine: Affine) -> tuple[Weights, Array]:
    kernels, extra = _before_depthwise(layer, affine)
    mixing = layer.weights["pointwise_kernel"].astype(np.float64)
    return kernels, extra @ mixing.reshape(extra.size, -1)


_BEFORE: dict[str, Callable[[Layer, Affine], tuple[Weights, Array]]] = {
    "Conv1D": _before_convolution,
    "Conv2D": _before_convolution,
    "Conv3D": _before_convolution,
    "Dense": _before_convolution,
    "DepthwiseConv1D": _before_depthwise,
    "DepthwiseConv2D": _before_depthwise,
    "SeparableConv1D": _before_separable,
    "SeparableConv2D": _before_separable,
}
