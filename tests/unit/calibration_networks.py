"""Small networks with every kind of place where a range may or may not be chosen; batch norms in them do something."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras
from tf_keras import layers

_SIZE = (12, 12, 3)


def made(name: str) -> Any:
    """A network with seeded weights; its layers have the same names each time."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = NETWORKS[name]()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            drawn = [w * rng.uniform(0.8, 1.2, w.shape) + rng.uniform(0, 0.1, w.shape) for w in layer.get_weights()]
            layer.set_weights(drawn)
    return model


def samples_for(model: Any, count: int) -> list[Any]:
    """Normal values for each input."""
    rng = np.random.default_rng(1)
    return [rng.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def _ended(given: Any, tensor: Any, activation: str = "linear") -> Any:
    return tf_keras.Model(given, layers.Dense(4, activation=activation)(layers.Flatten()(tensor)))


def _normed(tensor: Any, convolution: Any, *, relu: Any = None) -> Any:
    tensor = layers.BatchNormalization()(convolution(tensor))
    return tensor if relu is None else relu(tensor)


def _lenet() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.MaxPooling2D()(layers.Conv2D(6, 5, activation="relu", padding="same")(given))
    tensor = layers.AveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(tensor))
    tensor = layers.Dropout(0.3)(layers.Dense(16, activation="relu")(layers.Flatten()(tensor)))
    return _ended(given, tensor, "softmax")


def _residual() -> Any:
    given = layers.Input(_SIZE)
    tensor = _normed(given, layers.Conv2D(8, 3, padding="same", use_bias=False), relu=layers.ReLU())
    inner = _normed(tensor, layers.Conv2D(8, 3, padding="same"), relu=layers.Activation("relu"))
    tensor = layers.ReLU()(layers.Add()([tensor, _normed(inner, layers.Conv2D(8, 3, padding="same"))]))
    return _ended(given, layers.GlobalAveragePooling2D()(tensor), "softmax")


def _mobile() -> Any:
    given = layers.Input(_SIZE)
    tensor = _normed(given, layers.Conv2D(8, 3, strides=2, padding="same"), relu=layers.ReLU(6.0))
    inner = _normed(tensor, layers.Conv2D(16, 1, use_bias=False), relu=layers.ReLU(6.0))
    inner = layers.ZeroPadding2D(1)(inner)
    inner = _normed(inner, layers.DepthwiseConv2D(3, use_bias=False), relu=layers.ReLU(6.0))
    tensor = layers.Add()([tensor, _normed(inner, layers.Conv2D(8, 1))])
    return _ended(given, layers.GlobalAveragePooling2D()(tensor))


def _squeeze_and_excite() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.Conv2D(8, 3, activation="swish")(given)
    gate = layers.Conv2D(4, 1, activation="elu")(layers.GlobalAveragePooling2D(keepdims=True)(tensor))
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    return _ended(given, layers.Conv2D(8, 1)(layers.Multiply()([tensor, gate])))


def _branches() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.Conv2D(8, 3, activation="relu")(given)
    pooled = layers.MaxPooling2D(3, 1, padding="same")
    one = layers.Conv2D(4, 1, activation="relu")(tensor)
    two = layers.Conv2D(4, 1)(pooled(tensor))
    three = pooled(layers.Conv2D(4, 1, activation="relu")(tensor))
    return _ended(given, layers.Conv2D(4, 1, activation="relu")(layers.Concatenate()([one, two, three])))


def _dense_branches() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.Conv2D(8, 3, activation="relu")(given)
    for _ in range(2):
        inner = layers.ReLU()(layers.BatchNormalization()(tensor))
        tensor = layers.Concatenate()([tensor, layers.Conv2D(4, 3, padding="same")(inner)])
    return _ended(given, layers.ReLU()(layers.BatchNormalization()(tensor)))


def _one_axis() -> Any:
    given = layers.Input((24, 6))
    tensor = layers.MaxPooling1D()(_normed(given, layers.Conv1D(8, 3), relu=layers.ReLU()))
    tensor = layers.Conv1D(8, 3, activation="relu", dilation_rate=2)(tensor)
    tensor = layers.SeparableConv1D(8, 3, activation="relu")(tensor)
    return _ended(given, layers.GlobalAveragePooling1D()(tensor), "sigmoid")


def _separable() -> Any:
    given = layers.Input(_SIZE)
    tensor = _normed(given, layers.SeparableConv2D(8, 3), relu=layers.ReLU())
    tensor = layers.SeparableConv2D(8, 3, activation="relu")(tensor)
    return _ended(given, layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")(tensor))


def _transposed() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(given)
    tensor = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(tensor)
    tensor = layers.Conv2D(3, 3, padding="same")(layers.UpSampling2D(2, interpolation="bilinear")(tensor))
    return tf_keras.Model(given, layers.Conv2DTranspose(3, 3)(tensor))


def _leaky() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.LeakyReLU()(layers.Conv2D(8, 3)(given))
    tensor = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3)(tensor))
    for activation in ("elu", "leaky_relu", "tanh"):
        tensor = layers.Conv2D(8, 1, activation=activation)(tensor)
    return _ended(given, tensor)


def _hard_swish() -> Any:
    def gate(tensor: Any) -> Any:
        return layers.ReLU(6.0)(tensor + 3.0) * (1.0 / 6.0)

    given = layers.Input(_SIZE)
    tensor = _normed(given, layers.Conv2D(8, 3))
    tensor = layers.Multiply()([tensor, gate(tensor)])
    squeezed = layers.Conv2D(8, 1)(layers.GlobalAveragePooling2D(keepdims=True)(tensor))
    return _ended(given, layers.Multiply()([tensor, gate(squeezed)]))


def _two_ends() -> Any:
    one, two = layers.Input(_SIZE), layers.Input(_SIZE)
    first, second = (layers.Conv2D(8, 3, activation="relu")(tensor) for tensor in (one, two))
    tensor = layers.Conv2D(4, 1, activation="relu")(layers.Subtract()([first, second]))
    heads = [layers.Dense(4, activation="softmax")(layers.Flatten()(tensor)), layers.Dense(3)(layers.Flatten()(first))]
    return tf_keras.Model([one, two], heads)


def _joined_inputs() -> Any:
    one, two = layers.Input(_SIZE), layers.Input(_SIZE)
    tensor = layers.Conv2D(8, 3)(layers.Concatenate()([one, two]))
    return _ended([one, two], layers.ReLU(max_value=4.0)(tensor))


def _norm_first() -> Any:
    given = layers.Input(_SIZE)
    tensor = layers.Conv2D(8, 3, activation="relu")(layers.BatchNormalization()(given))
    tensor = layers.Conv2D(8, 3, padding="same", activation="gelu")(layers.BatchNormalization()(tensor))
    tensor = layers.Maximum()([tensor, layers.Conv2D(8, 1)(tensor)])
    tensor = layers.ReLU()(layers.Dense(5)(layers.Reshape((100, 8))(tensor)))
    return _ended(given, layers.Dense(5, activation="relu")(tensor))


def _shared() -> Any:
    one, two = layers.Input(_SIZE), layers.Input(_SIZE)
    shared, flat, head = layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(4, activation="softmax")
    return tf_keras.Model([one, two], [head(flat(shared(tensor))) for tensor in (one, two)])


NETWORKS: dict[str, Callable[[], Any]] = {
    "lenet": _lenet,
    "residual": _residual,
    "mobile": _mobile,
    "squeeze-and-excite": _squeeze_and_excite,
    "branches": _branches,
    "dense branches": _dense_branches,
    "one axis": _one_axis,
    "separable": _separable,
    "transposed": _transposed,
    "leaky": _leaky,
    "hard-swish": _hard_swish,
    "two ends": _two_ends,
    "joined inputs": _joined_inputs,
    "norm first": _norm_first,
    "shared": _shared,
}
