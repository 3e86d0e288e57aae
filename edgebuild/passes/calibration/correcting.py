"""Bias correction: the shift that quantization gives the mean of a channel, from samples or from batch norms alone.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2 and appendix D.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2.1 and appendix
C: behind a batch norm a channel is taken to be normal with mean beta and deviation gamma, clipped by the activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from edgebuild.passes.calibration.grid import Array, with_weights_onto
from edgebuild.passes.calibration.points import IDENTITIES, KERNELS
from edgebuild.passes.graph.affine import BATCH_NORM
from edgebuild.passes.graph.folding import has_channels_last
from edgebuild.passes.graph.ir import Call, Graph, Layer

_AVERAGING = frozenset({"AveragePooling1D", "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"})
# The axes of a kernel that are summed over for each input channel; what is left is [in, out] or [channels, multiplier].
_WINDOWS: dict[str, tuple[int, ...]] = {"Conv1D": (0,), "Conv2D": (0, 1), "Dense": (), "DepthwiseConv2D": (0, 1)}
_erf: Callable[[Any], Any] = np.vectorize(math.erf, otypes=[np.float64])


def takes(layer: Layer) -> bool:
    """Whether a layer's channels are last: else its bias stays as it is."""
    return bool(layer.config.get("data_format", "channels_last") == "channels_last")


def corrected(layer: Layer, exact: Array, given: Array) -> Layer:
    """A layer whose channels have the mean before the activation that they have in the float network.

    Args:
        layer: with its channels last, else it is given back as it is; it has a bias afterwards.
        exact: what it makes before the activation in the float network, [samples, ..., channels].
        given: what it makes there in the quantized network, likewise.
    """
    return shifted(layer, shift(exact, given)) if takes(layer) else layer


def shift(exact: Array, given: Array) -> Array:
    """By channel, the last axis, how much higher the mean is in the float network (float64)."""
    axes = tuple(range(exact.ndim - 1))
    return np.asarray(exact.mean(axes, dtype=np.float64) - given.mean(axes, dtype=np.float64))


def shifted(layer: Layer, shift: Array) -> Layer:
    """A layer with more in its bias, by output channel; it has one afterwards."""
    bias = layer.weights.get("bias", np.zeros_like(shift)) + shift
    others = {name: array for name, array in layer.weights.items() if name != "bias"}
    return layer._replace(
        config={**layer.config, "use_bias": True}, weights={**others, "bias": np.asarray(bias, np.float32)}
    )


class Corrected(NamedTuple):
    """A graph with corrected biases, and how many of its layers have them."""

    graph: Graph
    layers: int


class _Values(NamedTuple):
    """What is known of a tensor by channel: its mean, and its deviation where it is normal."""

    mean: Array
    deviation: Array | None


def corrected_by_batch_norms(exact: Graph, rounded: Graph, floating: Collection[str] = ()) -> Corrected:
    """Take back the shift of each layer whose inputs' means are known; zeros of padding are taken for inputs, too.

    Args:
        exact: the float network, with batch norms that are not folded.
        rounded: the same with kernels that will be quantized, which may be rounded already.
        floating: layers that will not be quantized, by name.
    """
    known = _means(exact)
    layers, count = dict(rounded.layers), 0
    for call in exact.calls:
        layer, given = exact.layers[call.layer], known.get(call.inputs[0]) if len(call.inputs) == 1 else None
        is_plain = layer.name not in floating and len(list(exact.calls_of(layer.name))) == 1
        if given is not None and _is_known(layer) and is_plain:
            layers[layer.name] = shifted(layers[layer.name], _shift(layer, layers[layer.name], given.mean))
            count += 1
    return Corrected(rounded._replace(layers=layers), count)


def _is_known(layer: Layer) -> bool:
    config = layer.config
    plain = config.get("data_format", "channels_last") == "channels_last" and config.get("groups", 1) == 1
    return layer.kind.__name__ in _WINDOWS and plain


def _shift(exact: Layer, rounded: Layer, mean: Array) -> Array:
    """By output channel the mean of what the exact kernel makes more than the one on its grid."""
    name = "depthwise_kernel" if exact.kind.__name__ == "DepthwiseConv2D" else "kernel"
    onto = with_weights_onto(rounded).weights[name].astype(np.float64)
    lost = (exact.weights[name].astype(np.float64) - onto).sum(_WINDOWS[exact.kind.__name__])
    if name == "depthwise_kernel":
        return np.asarray((lost * mean[:, None]).reshape(-1))
    return np.asarray(mean @ lost)


def _means(graph: Graph) -> Mapping[int, _Values]:
    """What batch norms tell of tensors, followed through the layers behind them as far as it is clear."""
    known: dict[int, _Values] = {}
    for call in graph.calls:
        found = _of_call(graph, call, known)
        if found is not None:
            known[call.outputs[0]] = found
    return known


def _of_call(graph: Graph, call: Call, known: Mapping[int, _Values]) -> _Values | None:
    layer = graph.layers[call.layer]
    word = layer.kind.__name__
    if word in BATCH_NORM:
        return _behind_batch_norm(layer) if has_channels_last(graph, call) else None
    given = [known.get(tensor) for tensor in call.inputs]
    if word == "Add" and all(item is not None for item in given):
        return _Values(np.sum([item.mean for item in given if item is not None], 0), None)
    if len(given) != 1 or given[0] is None:
        return None
    if word in KERNELS:
        return None  # nothing tells the deviation of what it makes
    return _passed(graph, call, given[0])


def _behind_batch_norm(layer: Layer) -> _Values:
    mean = layer.weights["moving_mean"]
    gamma, beta = layer.weights.get("gamma", np.ones_like(mean)), layer.weights.get("beta", np.zeros_like(mean))
    return _Values(beta.astype(np.float64), np.abs(gamma.astype(np.float64)))


def _passed(graph: Graph, call: Call, given: _Values) -> _Values | None:
    """Through a layer that computes nothing new."""
    layer = graph.layers[call.layer]
    word = layer.kind.__name__
    if word in IDENTITIES:
        return given
    if word in _AVERAGING:
        return _Values(given.mean, None)
    if word == "Flatten":
        size = graph.tensors[call.outputs[0]].shape[-1]
        return _Values(np.tile(given.mean, (size or 0) // len(given.mean)), None) if size else None
    ends = _ends(layer)
    if ends is None or given.deviation is None:
        return None
    return _Values(clipped_mean(given.mean, given.deviation, *ends), None)


def _ends(layer: Layer) -> tuple[float, float] | None:
    """Between which values an activation clips; None where it does something else."""
    config = layer.config
    if layer.kind.__name__ == "ReLU" and not config["negative_slope"] and not config["threshold"]:
        return 0.0, math.inf if config["max_value"] is None else float(config["max_value"])
    if layer.kind.__name__ == "Activation":
        return {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}.get(config["activation"])
    return None


def clipped_mean(mean: Array, deviation: Array, low: float, high: float) -> Array:
    """The mean of a normal variable clipped to [low, high] (ibid., appendix C, equation 19), by channel."""
    safe = np.maximum(deviation, 1e-12)
    a, b = (low - mean) / safe, (high - mean) / safe
    below, above = _normal_below(a), 1 - _normal_below(b)
    inside = mean * (1 - below - above) + safe * (_density(a) - _density(b))
    return np.asarray(inside + low * below + (0.0 if math.isinf(high) else high * above))


def _normal_below(value: Array) -> Array:
    return np.asarray(0.5 * (1 + _erf(value / math.sqrt(2))))


def _density(value: Array) -> Array:
    return np.asarray(np.exp(-0.5 * np.square(value)) / math.sqrt(2 * math.pi))
