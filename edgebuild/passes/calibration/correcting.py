"""Bias correction from samples: the shift that quantization gives the mean of a channel, taken back.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2 and appendix D.
"""

from __future__ import annotations

import numpy as np

from edgebuild.passes.calibration import walking
from edgebuild.passes.calibration.grid import Array, with_weights_onto
from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref, Tensor


def corrected(layer: Layer, exact: Array, given: Array, original: Layer | None = None) -> Layer:
    """A layer whose channels have the mean before the activation that they have in the float network.

    Args:
        layer: with a kernel and its channels last, else it is given back as it is; it has a bias afterwards.
        exact: its input in the float network, [samples, ...].
        given: its input in the quantized network, [samples, ...].
        original: the layer in the float network, where that is another than `layer` already.
    """
    if layer.config.get("data_format", "channels_last") != "channels_last":
        return layer
    shift = _means(original or layer, exact) - _means(with_weights_onto(layer), given)
    return shifted(layer, shift)


def shifted(layer: Layer, shift: Array) -> Layer:
    """A layer with more in its bias, by output channel; it has one afterwards."""
    bias = layer.weights.get("bias", np.zeros_like(shift)) + shift
    others = {name: array for name, array in layer.weights.items() if name != "bias"}
    return layer._replace(
        config={**layer.config, "use_bias": True}, weights={**others, "bias": np.asarray(bias, np.float32)}
    )


def _means(layer: Layer, given: Array) -> Array:
    """The mean of each output channel before the activation."""
    linear = layer._replace(config={**layer.config, "activation": "linear"})
    tensors = {0: Tensor((None, *given.shape[1:]), "float32"), 1: Tensor((None,), "float32")}
    call = Call(layer.name, (Ref(0),), {}, (1,))
    (made,) = walking.run(Graph(layer.name, {}, (), (), (), tensors), call, linear, [given])
    return np.asarray(made.mean(tuple(range(made.ndim - 1)), dtype=np.float64))
