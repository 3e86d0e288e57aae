"""Activations of Keras 3 layers that tf_keras does not have, or has with another meaning."""

from __future__ import annotations

from typing import Any

import keras

# The functions that have one name and one meaning in both. "hard_sigmoid" is not among them: in Keras 3 it is
# relu6(x + 3) / 6, in tf_keras clip(0.2 x + 0.5, 0, 1).
SHARED = frozenset(
    {
        "elu",
        "exponential",
        "gelu",
        "linear",
        "mish",
        "relu",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "tanh",
    }
)
# The layers whose activation is the last thing they do, so that it can be taken out of them.
_LAST = (
    keras.layers.Activation,
    keras.layers.Conv1D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3D,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.EinsumDense,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def foreign(layer: keras.layers.Layer) -> Any:
    """A layer's activation where it must be computed apart from the layer, else None."""
    activation = getattr(layer, "activation", None) if isinstance(layer, _LAST) else None
    return None if activation is None or _is_shared(activation) else activation


def _is_shared(activation: Any) -> bool:
    return name_of(activation) in SHARED and activation is keras.activations.get(name_of(activation))


def name_of(activation: Any) -> str:
    """A word for an activation, which may be a function of the user's own."""
    return str(getattr(activation, "__name__", "activation")).strip("<>")
