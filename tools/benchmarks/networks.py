"""The networks that the other benchmarks start from, trained on MNIST with a fixed seed.

python networks.py NAME DATA OUT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from augmentation import shift_images

from edgebuild.passes.graph import building
from edgebuild.passes.student import narrow

_SEED = 0
_BATCH = 128


def lenet5() -> Any:
    """20 and 50 5x5 convolutions and 500 dense units, 431,080 parameters (the LeNet-5 of Han et al. 2016)."""
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(50, 5, activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(500, activation="relu", name="dense1"),
            layers.Dense(10, activation="softmax", name="dense2"),
        ]
    )


def lenet300() -> Any:
    """LeNet-300-100, 266,610 parameters."""
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            layers.Input((28, 28)),
            layers.Flatten(name="flatten"),
            layers.Dense(300, activation="relu", name="dense1"),
            layers.Dense(100, activation="relu", name="dense2"),
            layers.Dense(10, activation="softmax", name="dense3"),
        ]
    )


def mobilenet() -> Any:
    """MobileNetV1 of width 0.5 for 28x28 grey images: fewer strides, and batch norms that settle in few epochs."""
    layers = tf_keras.layers

    def active(x: Any, name: str) -> Any:
        return layers.ReLU(6, name=f"{name}_relu")(layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x))

    def block(x: Any, filters: int, stride: int, number: int) -> Any:
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"depthwise{number}")(x)
        x = active(x, f"depthwise{number}")
        x = layers.Conv2D(filters, 1, use_bias=False, name=f"pointwise{number}")(x)
        return active(x, f"pointwise{number}")

    inputs = layers.Input((28, 28, 1))
    x = active(layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem")(inputs), "stem")
    plan = [(32, 1), (64, 2), (64, 1), (128, 1), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 1), (512, 1)]
    for number, (filters, stride) in enumerate(plan, 1):
        x = block(x, filters, stride, number)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="mobilenet")


def residual() -> Any:
    """Six residual convolutions in three stages of 16, 32 and 64 channels (as in He et al. 2016), ReLU."""
    layers = tf_keras.layers

    def normal(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    inputs = layers.Input((28, 28, 1))
    x = layers.ReLU(name="stem_relu")(normal(inputs, 16, 3, 2, "stem"))
    for number, filters in enumerate((16, 32, 64), 1):
        stride = 1 if number == 1 else 2
        y = layers.ReLU(name=f"block{number}_a_relu")(normal(x, filters, 3, stride, f"block{number}_a"))
        y = normal(y, filters, 3, 1, f"block{number}_b")
        x = normal(x, filters, 1, stride, f"block{number}_skip") if stride > 1 else x
        x = layers.ReLU(name=f"block{number}_relu")(layers.Add(name=f"block{number}_add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="residual")


def depthwise() -> Any:
    """Four depthwise-separable blocks (as in Howard et al. 2017) of 24 to 64 channels, ReLU."""
    layers = tf_keras.layers

    def active(x: Any, name: str) -> Any:
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    inputs = layers.Input((28, 28, 1))
    x = active(layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem")(inputs), "stem")
    for number, (filters, stride) in enumerate([(24, 1), (32, 2), (48, 1), (64, 2)], 1):
        name = f"depthwise{number}"
        x = active(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)(x), name)
        x = active(layers.Conv2D(filters, 1, use_bias=False, name=f"pointwise{number}")(x), f"pointwise{number}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="depthwise")


def inverted() -> Any:
    """Five inverted residual blocks with linear bottlenecks and ReLU6 (as in Sandler et al. 2018)."""
    layers = tf_keras.layers

    def normal(x: Any, layer: Any, *, active: bool) -> Any:
        x = layers.BatchNormalization(name=f"{layer.name}_bn")(layer(x))
        return layers.ReLU(6, name=f"{layer.name}_relu6")(x) if active else x

    inputs = layers.Input((28, 28, 1))
    stem = layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem")
    x = normal(inputs, stem, active=True)
    for number, (filters, stride) in enumerate([(16, 1), (24, 2), (24, 1), (32, 2), (32, 1)], 1):
        expand = layers.Conv2D(4 * x.shape[-1], 1, use_bias=False, name=f"expand{number}")
        y = normal(x, expand, active=True)
        filtered = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"filter{number}")
        y = normal(y, filtered, active=True)
        y = normal(y, layers.Conv2D(filters, 1, use_bias=False, name=f"project{number}"), active=False)
        x = layers.Add(name=f"add{number}")([x, y]) if x.shape == y.shape else y
    x = normal(x, layers.Conv2D(96, 1, use_bias=False, name="head"), active=True)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="inverted")


def gated() -> Any:
    """Five inverted residual blocks with hard-swish and squeeze-and-excite (as in Howard et al. 2019, MobileNetV3)."""
    layers = tf_keras.layers

    def hard_sigmoid(x: Any) -> Any:
        return layers.ReLU(6.0)(x + 3.0) * (1 / 6)

    def normal(x: Any, layer: Any, *, active: bool) -> Any:
        x = layers.BatchNormalization(momentum=0.9, name=f"{layer.name}_bn")(layer(x))
        return layers.Multiply(name=f"{layer.name}_swish")([x, hard_sigmoid(x)]) if active else x

    def excited(x: Any, number: int) -> Any:
        squeezed = layers.GlobalAveragePooling2D(keepdims=True, name=f"squeeze{number}")(x)
        inner = layers.Conv2D(max(8, x.shape[-1] // 4), 1, activation="relu", name=f"reduce{number}")(squeezed)
        shares = hard_sigmoid(layers.Conv2D(x.shape[-1], 1, name=f"excite{number}")(inner))
        return layers.Multiply(name=f"gate{number}")([x, shares])

    inputs = layers.Input((28, 28, 1))
    x = normal(inputs, layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem"), active=True)
    for number, (filters, stride) in enumerate([(16, 1), (24, 2), (24, 1), (32, 2), (32, 1)], 1):
        expand = layers.Conv2D(4 * x.shape[-1], 1, use_bias=False, name=f"expand{number}")
        y = normal(x, expand, active=True)
        filtered = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"filter{number}")
        y = excited(normal(y, filtered, active=True), number)
        y = normal(y, layers.Conv2D(filters, 1, use_bias=False, name=f"project{number}"), active=False)
        x = layers.Add(name=f"add{number}")([x, y]) if x.shape == y.shape else y
    x = normal(x, layers.Conv2D(96, 1, use_bias=False, name="head"), active=True)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="gated")


def mobilenet128(width: float = 1.0) -> Any:
    """MobileNetV1 of width 0.5 for 128x128 images, untrained; uniformly narrower where a width is given."""
    model = tf_keras.applications.MobileNet((128, 128, 3), alpha=0.5, weights=None, classes=10)
    return model if width == 1 else building.build(narrow(building.read(model), width, 8))


# The network, the epochs, the highest learning rate, and by how many pixels its images are moved.
NETWORKS: dict[str, tuple[Callable[[], Any], int, float, int]] = {
    "lenet5": (lenet5, 12, 1e-3, 2),
    "lenet300": (lenet300, 15, 1e-3, 0),
    "mobilenet": (mobilenet, 2, 2e-3, 0),
    "residual": (residual, 3, 2e-3, 0),
    "depthwise": (depthwise, 3, 2e-3, 0),
    "inverted": (inverted, 3, 2e-3, 0),
    "gated": (gated, 3, 2e-3, 0),
}


def main(name: str, data_path: str, out: str) -> None:
    """Train one network and save it."""
    tf_keras.utils.set_random_seed(_SEED)
    tf.config.experimental.enable_op_determinism()
    make, epochs, rate, pixels = NETWORKS[name]
    model = make()
    data = np.load(data_path)
    shape = (-1, *model.input_shape[1:])
    x, y = (data["x_train"] / 255).astype(np.float32).reshape(shape), data["y_train"]
    steps = -(-len(x) // _BATCH)
    schedule = tf_keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    model.compile(tf_keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(_SEED)

    def batches() -> Any:
        for _ in range(epochs):
            order = rng.permutation(len(x))
            for start in range(0, len(x), _BATCH):
                rows = order[start : start + _BATCH]
                yield shift_images(x[rows], rng, pixels), y[rows]

    model.fit(batches(), steps_per_epoch=steps, epochs=epochs, verbose=2)
    test = (data["x_test"] / 255).astype(np.float32).reshape(shape)
    print(name, model.evaluate(test, data["y_test"], verbose=0))
    beside = Path(out).with_suffix(".new.h5")
    model.save(beside)
    beside.replace(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
