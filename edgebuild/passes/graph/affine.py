"""Batch normalization as what it is after training, a scale and a shift by channel, and where these can go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tf_keras

from edgebuild.passes.graph.ir import Call, Graph, Layer, Shape, Weights

_Array = npt.NDArray[Any]

BATCH_NORM = frozenset({"BatchNormalization", "SyncBatchNormalization"})
_PADS = "pads its input with zeros, which the shift does not reach"


class Affine(NamedTuple):
    """`scale * x + shift`, each a vector of float64 over the channels."""

    scale: _Array
    shift: _Array


def of_batch_norm(layer: Layer) -> Affine:
    """What a batch norm computes outside of training (Ioffe and Szegedy 2015, section 3.1, algorithm 2)."""
    mean, variance = (layer.weights[name].astype(np.float64) for name in ("moving_mean", "moving_variance"))
    scale = layer.weights.get("gamma", np.ones_like(mean)) / np.sqrt(variance + layer.config["epsilon"])
    return Affine(scale, layer.weights.get("beta", np.zeros_like(mean)) - mean * scale)


def takes_before(layer: Layer) -> bool:
    """Whether `after` knows the class: it has a kernel of which the output is linear, and a bias."""
    return layer.kind.__name__ in _AFTER


def _takes_behind(layer: Layer) -> bool:
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


def scaling(layer: Layer, scale: _Array, shift: _Array | None = None) -> Layer:
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


def _with(layer: Layer, kernels: Weights, bias: _Array) -> Layer:
    dtype = next(iter(layer.weights.values())).dtype
    arrays = {name: array for name, array in {**layer.weights, **kernels}.items() if name != "bias"}
    return layer._replace(
        config={**layer.config, "use_bias": True},
        weights={name: np.asarray(array, dtype) for name, array in (*arrays.items(), ("bias", bias))},
    )


# By class: the name of the weight that makes the outputs, and that weight with each output scaled.


def _last(layer: Layer, scale: _Array) -> tuple[str, _Array]:
    return "kernel", layer.weights["kernel"] * scale


def _last_but_one(layer: Layer, scale: _Array) -> tuple[str, _Array]:
    return "kernel", layer.weights["kernel"] * scale[:, None]


def _depthwise(layer: Layer, scale: _Array) -> tuple[str, _Array]:
    kernel = layer.weights["depthwise_kernel"]
    return "depthwise_kernel", kernel * scale.reshape(kernel.shape[-2:])


def _pointwise(layer: Layer, scale: _Array) -> tuple[str, _Array]:
    return "pointwise_kernel", layer.weights["pointwise_kernel"] * scale


_AFTER: dict[str, Callable[[Layer, _Array], tuple[str, _Array]]] = {
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


def _before_convolution(layer: Layer, affine: Affine) -> tuple[Weights, _Array]:
    """Of groups, too: each has its part of the inputs and of the outputs."""
    groups = int(layer.config.get("groups", 1))
    kernel = layer.weights["kernel"].astype(np.float64)
    parted = kernel.reshape(*kernel.shape[:-1], groups, -1)
    scale, shift = (vector.reshape(groups, -1).T[..., None] for vector in affine)
    extra = (parted * shift).reshape(-1, kernel.shape[-1]).sum(0)
    return {"kernel": (parted * scale).reshape(kernel.shape)}, extra


def _before_depthwise(layer: Layer, affine: Affine) -> tuple[Weights, _Array]:
    kernel = layer.weights["depthwise_kernel"].astype(np.float64)
    scale, shift = (vector[:, None] for vector in affine)
    spatial = tuple(range(kernel.ndim - 2))
    return {"depthwise_kernel": kernel * scale}, (kernel * shift).sum(spatial).reshape(-1)


def _before_separable(layer: Layer, affine: Affine) -> tuple[Weights, _Array]:
    kernels, extra = _before_depthwise(layer, affine)
    mixing = layer.weights["pointwise_kernel"].astype(np.float64)
    return kernels, extra @ mixing.reshape(extra.size, -1)


_BEFORE: dict[str, Callable[[Layer, Affine], tuple[Weights, _Array]]] = {
    "Conv1D": _before_convolution,
    "Conv2D": _before_convolution,
    "Conv3D": _before_convolution,
    "Dense": _before_convolution,
    "DepthwiseConv1D": _before_depthwise,
    "DepthwiseConv2D": _before_depthwise,
    "SeparableConv1D": _before_separable,
    "SeparableConv2D": _before_separable,
}


class Absorption(NamedTuple):
    """A layer that can do an affine first, and that affine in terms of its own input's channels."""

    layer: str
    affine: Affine


class BlockedError(Exception):
    """An affine cannot be carried forward; the text says why, as the end of a sentence."""


def absorptions(graph: Graph, tensor: int, affine: Affine) -> list[Absorption]:
    """The layers that all that follows a tensor can be given to, where the affine on its last axis goes away.

    Raises:
        BlockedError: there is something else between or behind.
    """
    return list(_forward(graph, graph.consumers(), tensor, affine))


def _forward(graph: Graph, consumers: dict[int, list[Call]], tensor: int, affine: Affine) -> Iterator[Absorption]:
    if tensor in graph.outputs:
        raise BlockedError("it is an output of the network")
    for call in consumers[tensor]:
        layer = graph.layers[call.layer]
        if len(call.inputs) != 1 or len(call.outputs) != 1:
            raise BlockedError(f"{layer.name} takes other tensors too")
        if _takes_behind(layer):
            _require_absorbing(graph, call, affine)
            yield Absorption(layer.name, affine)
        else:
            passed = _passed(graph, call, affine)
            yield from _forward(graph, consumers, call.outputs[0], passed)


def _require_absorbing(graph: Graph, call: Call, affine: Affine) -> None:
    layer = graph.layers[call.layer]
    if len(list(graph.calls_of(layer.name))) > 1:
        raise BlockedError(f"{layer.name} is used more than once")
    if layer.config.get("data_format") == "channels_first":
        raise BlockedError(f"the channels of {layer.name} are first")
    if affine.shift.any() and not _pads_nothing(layer, graph.tensors[call.inputs[0]].shape):
        raise BlockedError(f"{layer.name} {_PADS}")


def _pads_nothing(layer: Layer, shape: Shape) -> bool:
    """Whether no output position of a layer sees padding."""
    padding = layer.config.get("padding", "valid")
    if padding == "valid":
        return True
    kernel, strides, dilation = (_tuple(layer.config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    for place, size in enumerate(kernel):
        reach, stride = (size - 1) * dilation[place] + 1, strides[place]
        if reach == 1:
            continue
        length = shape[1 + place]
        if padding != "same" or length is None or (math.ceil(length / stride) - 1) * stride + reach > length:
            return False
    return True


def _tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


class _Passage(NamedTuple):
    """An affine on what a layer takes, and the shapes of what it takes and makes."""

    layer: Layer
    affine: Affine
    before: Shape
    behind: Shape


def _passed(graph: Graph, call: Call, affine: Affine) -> Affine:
    """The affine on what a layer makes that equals the given one on what it takes."""
    layer = graph.layers[call.layer]
    rule = _RULES.get(layer.kind.__name__)
    if rule is None or layer.config.get("data_format", "channels_last") != "channels_last":
        raise BlockedError(f"{layer.name} ({layer.kind.__name__}) does not commute with it")
    before, behind = (graph.tensors[tensor].shape for tensor in (call.inputs[0], call.outputs[0]))
    return rule(_Passage(layer, affine, before, behind))


def _always(passage: _Passage) -> Affine:
    """Of layers that move values about, or average them with weights whose sum is one."""
    return passage.affine


def _linear(passage: _Passage) -> Affine:
    activation = passage.layer.config["activation"]
    if activation != "linear":
        raise BlockedError(f"{passage.layer.name} ({activation}) does not commute with it")
    return passage.affine


def _rising(passage: _Passage) -> Affine:
    """Of layers that choose the largest value: it stays the largest where the scale is not negative."""
    if (passage.affine.scale < 0).any():
        raise BlockedError(f"{passage.layer.name} takes the largest value, and a scale is negative")
    return passage.affine


def _zero(passage: _Passage) -> Affine:
    if passage.affine.shift.any():
        raise BlockedError(f"{passage.layer.name} {_PADS}")
    return passage.affine


def _reshaped(passage: _Passage) -> Affine:
    """Of layers that keep the order of values: the last axis may be joined with those before it."""
    channels, last = passage.affine.scale.size, passage.behind[-1]
    if last is None or last % channels or None in (*passage.before[1:], *passage.behind[1:]):
        raise BlockedError(f"{passage.layer.name} parts the channels")
    return Affine(*(np.tile(vector, last // channels) for vector in passage.affine))


_RULES: dict[str, Callable[[_Passage], Affine]] = {
    "Activation": _linear,
    "ActivityRegularization": _always,
    "AveragePooling1D": _always,
    "AveragePooling2D": _always,
    "AveragePooling3D": _always,
    "Cropping1D": _always,
    "Cropping2D": _always,
    "Cropping3D": _always,
    "Dropout": _always,
    "Flatten": _reshaped,
    "GlobalAveragePooling1D": _always,
    "GlobalAveragePooling2D": _always,
    "GlobalAveragePooling3D": _always,
    "GlobalMaxPooling1D": _rising,
    "GlobalMaxPooling2D": _rising,
    "GlobalMaxPooling3D": _rising,
    "Identity": _always,
    "MaxPooling1D": _rising,
    "MaxPooling2D": _rising,
    "MaxPooling3D": _rising,
    "Reshape": _reshaped,
    "SpatialDropout1D": _always,
    "SpatialDropout2D": _always,
    "SpatialDropout3D": _always,
    "UpSampling1D": _always,
    "UpSampling2D": _always,
    "UpSampling3D": _always,
    "ZeroPadding1D": _zero,
    "ZeroPadding2D": _zero,
    "ZeroPadding3D": _zero,
}
