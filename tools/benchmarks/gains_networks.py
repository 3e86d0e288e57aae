"""Networks and data of compression_gains.py, trained on MNIST with a fixed seed.

python gains_networks.py NAME MNIST OUT [--epochs N]

Writes OUT/NAME.h5, OUT/NAME.npz with x_train, y_train, x_eval, y_eval for edgebuild, and OUT/NAME.held.npz with x and y
that no build ever sees.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tf_keras

_SEED = 0
_EVALUATION, _HELD = 2_000, 10_000
layers = tf_keras.layers


def _normed(x: Any, width: int, size: int = 3, stride: int = 1) -> Any:
    x = layers.Conv2D(width, size, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def resnet(width: int = 16) -> Any:
    """Three residual blocks of 1, 2 and 4 times so many channels, as ResNet8 of MLPerf Tiny has them, for 28x28x1."""
    x = inputs = layers.Input((28, 28, 1), name="image")
    x = layers.ReLU()(_normed(x, width))
    for wider, stride in ((1, 1), (2, 2), (4, 2)):
        inner = _normed(layers.ReLU()(_normed(x, wider * width, stride=stride)), wider * width)
        shortcut = x if stride == 1 else _normed(x, wider * width, 1, stride)
        x = layers.ReLU()(layers.Add()([shortcut, inner]))
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def mobilenet(*, norm_last: bool = False) -> Any:
    """Six depthwise separable layers of 16 to 128 channels, a MobileNetV1 0.25 for 28x28x1."""

    def activated(x: Any) -> Any:
        norm, relu = layers.BatchNormalization(momentum=0.9), layers.ReLU(6.0)
        return norm(relu(x)) if norm_last else relu(norm(x))

    inputs = layers.Input((28, 28, 1), name="image")
    x = activated(layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(inputs))
    for width, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 1)):
        x = activated(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x))
        x = activated(layers.Conv2D(width, 1, use_bias=False)(x))
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def vgg() -> Any:
    """Three pairs of 3x3 convolutions of 16 to 64 channels and two dense layers, without batch norms."""
    x = inputs = layers.Input((28, 28, 1), name="image")
    for width in (16, 32, 64):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


class Recipe(NamedTuple):
    """How a network is made: from so many samples, for so many epochs."""

    make: Callable[[], Any]
    samples: int
    epochs: int


RECIPES = {
    "resnet": Recipe(resnet, 30_000, 3),
    "mobilenet": Recipe(mobilenet, 30_000, 5),
    "vgg": Recipe(vgg, 30_000, 3),
    "memorised": Recipe(mobilenet, 2_000, 40),
    "barely-trained": Recipe(mobilenet, 30_000, 1),
    "norm-after-relu": Recipe(lambda: mobilenet(norm_last=True), 30_000, 5),
    "few-samples": Recipe(resnet, 200, 40),
    "small-resnet": Recipe(lambda: resnet(8), 30_000, 0),
    "student-mobilenet": Recipe(mobilenet, 30_000, 0),
}


def main(name: str, mnist: Path, out: Path, epochs: int | None) -> None:
    """Train one of RECIPES and write it with its data."""
    tf_keras.utils.set_random_seed(_SEED)
    with np.load(mnist) as data:
        x, y = (data["x_train"] / 255.0).astype(np.float32)[..., np.newaxis], data["y_train"].astype(np.int64)
    order = np.random.default_rng(_SEED).permutation(len(x))
    recipe = RECIPES[name]
    train, rest = order[: recipe.samples], order[30_000:]
    evaluation, held = rest[:_EVALUATION], rest[_EVALUATION : _EVALUATION + _HELD]
    model = recipe.make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    epochs = recipe.epochs if epochs is None else epochs
    if epochs:
        model.fit(x[train], y[train], epochs=epochs, batch_size=64, verbose=0)
    model.save(out / f"{name}.h5")
    parts = {"x_train": x[train], "y_train": y[train], "x_eval": x[evaluation], "y_eval": y[evaluation]}
    np.savez(out / f"{name}.npz", **parts)
    np.savez(out / f"{name}.held.npz", x=x[held], y=y[held])
    accuracies = [model.evaluate(x[rows], y[rows], verbose=0)[1] for rows in (train, held)]
    print(f"{name}: {accuracies[0]:.2%} on its train samples, {accuracies[1]:.2%} on those held out")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    main(given.name, given.mnist, given.out, given.epochs)
