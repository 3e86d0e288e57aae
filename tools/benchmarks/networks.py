"""The networks that compression.py starts from, trained on MNIST with a fixed seed.

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

from edgebuild.passes.graph import building, reading
from edgebuild.passes.surgery.narrowing import narrow

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
    """MobileNetV1 of width 0.5 for 28x28 grey images (strides where a layer would have less than 2x2 left out)."""
    layers = tf_keras.layers

    def block(x: Any, filters: int, stride: int, number: int) -> Any:
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"depthwise{number}")(x)
        x = layers.ReLU(6, name=f"depthwise{number}_relu")(layers.BatchNormalization(name=f"depthwise{number}_bn")(x))
        x = layers.Conv2D(filters, 1, use_bias=False, name=f"pointwise{number}")(x)
        return layers.ReLU(6, name=f"pointwise{number}_relu")(
            layers.BatchNormalization(name=f"pointwise{number}_bn")(x)
        )

    inputs = layers.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, 1, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(6, name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    plan = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2), (512, 1)]
    for number, (filters, stride) in enumerate(plan, 1):
        x = block(x, filters, stride, number)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="mobilenet")


def mobilenet128(width: float = 1.0) -> Any:
    """MobileNetV1 of width 0.5 for 128x128 images, untrained; uniformly narrower where a width is given."""
    model = tf_keras.applications.MobileNet((128, 128, 3), alpha=0.5, weights=None, classes=10)
    return model if width == 1 else building.build(narrow(reading.read(model), width, 8))


# The network, the epochs, the highest learning rate, and by how many pixels its images are moved.
_NETWORKS: dict[str, tuple[Callable[[], Any], int, float, int]] = {
    "lenet5": (lenet5, 12, 1e-3, 2),
    "lenet300": (lenet300, 15, 1e-3, 0),
    "mobilenet": (mobilenet, 1, 2e-3, 0),
}


def main(name: str, data_path: str, out: str) -> None:
    """Train one network and save it."""
    tf_keras.utils.set_random_seed(_SEED)
    tf.config.experimental.enable_op_determinism()
    make, epochs, rate, pixels = _NETWORKS[name]
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
