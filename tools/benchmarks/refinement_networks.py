"""The networks whose refinement is timed, untrained but with batch norms that fit: python refinement_networks.py NAME OUT.

Writes OUT/model.h5 and OUT/data.npz. Weights, factors of channels and images are drawn with a fixed seed; means and
variances of batch norms are those of the drawn images, so that every channel is alive and in a usual range.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tf_keras

_SEED = 0
_CALIBRATION, _EVALUATION = 200, 200  # samples
_FITTED = 32  # samples that batch norms are fitted to


def mobilenet_v1() -> Any:
    """MobileNetV1 0.25 for 96x96 images (MLPerf Tiny's visual wake words)."""
    return tf_keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None, classes=10)


def mobilenet_v2() -> Any:
    """MobileNetV2 1.0 for 224x224 images."""
    return tf_keras.applications.MobileNetV2((224, 224, 3), alpha=1.0, weights=None, classes=1000)


def resnet8() -> Any:
    """ResNet8 for 32x32 images (MLPerf Tiny's image classification): three stages of 16, 32 and 64 channels."""
    layers = tf_keras.layers

    def normal(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    inputs = layers.Input((32, 32, 3))
    x = layers.ReLU(name="stem_relu")(normal(inputs, 16, 3, 1, "stem"))
    for number, filters in enumerate((16, 32, 64), 1):
        stride = 1 if number == 1 else 2
        y = layers.ReLU(name=f"block{number}_a_relu")(normal(x, filters, 3, stride, f"block{number}_a"))
        y = normal(y, filters, 3, 1, f"block{number}_b")
        x = layers.Conv2D(filters, 1, stride, padding="same", name=f"block{number}_skip")(x) if stride > 1 else x
        x = layers.ReLU(name=f"block{number}_relu")(layers.Add(name=f"block{number}_add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="resnet8")


def lstm() -> Any:
    """A small stateless LSTM over 28 steps of 8 values, and a dense layer on each side of it."""
    layers = tf_keras.layers
    inputs = layers.Input((28, 8))
    x = layers.Dense(16, activation="relu", name="before")(inputs)
    x = layers.LSTM(16, name="lstm")(x)
    return tf_keras.Model(inputs, layers.Dense(4, activation="softmax", name="classes")(x), name="lstm")


NETWORKS: dict[str, Callable[[], Any]] = {
    "mobilenet_v1": mobilenet_v1,
    "resnet8": resnet8,
    "mobilenet_v2": mobilenet_v2,
    "lstm": lstm,
}


def main(name: str, out: str) -> None:
    """Make one network and its data."""
    tf_keras.utils.set_random_seed(_SEED)
    rng = np.random.default_rng(_SEED)
    model = NETWORKS[name]()
    shape = model.input_shape[1:]
    x = _samples(rng, _CALIBRATION + _EVALUATION, shape)
    norms = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    for layer in norms:
        size = layer.gamma.shape
        layer.gamma.assign(np.exp(rng.normal(0, 0.5, size)))
        layer.beta.assign(rng.normal(0, 0.5, size))
        layer.momentum = 0.0  # the statistics are the batch's
    if norms:
        model(x[:_FITTED], training=True)
    for layer in norms:
        layer.momentum = 0.99
    last = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    last.kernel.assign(last.kernel * 2.0)  # classes that differ, as of a trained network
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", x_calibration=x[:_CALIBRATION], x_eval=x[_CALIBRATION:], scale=1.0)
    model.save(folder / "model.new.h5")
    (folder / "model.new.h5").replace(folder / "model.h5")


def _samples(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> Any:
    """Images that are smooth as photographs are (coarse noise, enlarged, with fine noise over it), or sequences."""
    if len(shape) < 3:
        return np.cumsum(rng.normal(0, 0.3, (count, *shape)), 1).astype(np.float32)
    side, channels = shape[0], shape[-1]
    coarse = rng.normal(0, 1, (count, 8, 8, channels))
    steps = np.linspace(0, 7, side)
    low = np.minimum(steps.astype(int), 6)
    part = steps - low
    weights = np.zeros((side, 8))
    weights[np.arange(side), low] = 1 - part
    weights[np.arange(side), low + 1] = part
    large = np.einsum("ia,nabc,jb->nijc", weights, coarse, weights, optimize=True)
    return np.clip(0.5 * large + rng.normal(0, 0.05, large.shape), -1, 1).astype(np.float32)


if __name__ == "__main__":
    main(*sys.argv[1:])
