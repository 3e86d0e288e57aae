"""Bias correction from samples: the shift that quantization gives the mean of a channel, taken back.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2 and appendix D.
"""

from __future__ import annotations

import numpy as np

from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.graph.ir import Layer


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
