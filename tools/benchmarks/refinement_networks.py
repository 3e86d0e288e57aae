"""The networks whose refinement is timed: python refinement_networks.py NAME FOLDER ASSETS.

Writes FOLDER/data.npz, and FOLDER/model.h5 unless the network is an asset, all with a fixed seed. The networks of
`networks.py` are trained for two epochs on 8,000 digits. The others are untrained: weights, factors of channels and
smooth images are drawn, and means and variances of batch norms are those of these images, so that every channel is
alive and in a usual range.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import networks
import numpy as np
import tf_keras

_SEED = 0
_CALIBRATION, _EVALUATION = 200, 200  # samples
_FITTED = 32  # samples that batch norms are fitted to
_TRAIN, _DIGITS = 8_000, 1_500  # samples of the networks that are trained, and those that they are evaluated on


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


_UNTRAINED: dict[str, Callable[[], Any]] = {
    "mobilenet_v1": mobilenet_v1,
    "resnet8": resnet8,
    "mobilenet_v2": mobilenet_v2,
    "lstm": lstm,
}


def main(name: str, out: str, assets: str) -> None:
    """Make one network and its data."""
    tf_keras.utils.set_random_seed(_SEED)
    folder, rng = Path(out), np.random.default_rng(_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    if name in _UNTRAINED:
        model = _UNTRAINED[name]()
        x = _samples(rng, _CALIBRATION + _EVALUATION, model.input_shape[1:])
        _fit(model, x[:_FITTED], rng)
        model.save(folder / "model.h5")
        data = {"x_calibration": x[:_CALIBRATION], "x_eval": x[_CALIBRATION:], "scale": 1.0}
    elif name in networks.NETWORKS:
        data = _trained(name, folder, Path(assets), rng)
    else:
        found = np.load(Path(assets) / name / f"{name}.npz")
        rows = rng.permutation(len(found["x_train"]))[:_CALIBRATION]
        data = {"x_calibration": found["x_train"][rows], "x_eval": found["x_eval"], "scale": 1.0}
    np.savez(folder / "data.new.npz", **data)
    (folder / "data.new.npz").replace(folder / "data.npz")


def _fit(model: Any, x: Any, rng: np.random.Generator) -> None:
    """Factors of channels that differ, statistics of batch norms that fit, and classes that differ."""
    norms = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    for layer in norms:
        size = layer.gamma.shape
        layer.gamma.assign(np.exp(rng.normal(0, 0.5, size)))
        layer.beta.assign(rng.normal(0, 0.5, size))
        layer.momentum = 0.0  # the statistics are the batch's
    if norms:
        model(x, training=True)
    for layer in norms:
        layer.momentum = 0.99
    last = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    last.kernel.assign(last.kernel * 2.0)


def _trained(name: str, folder: Path, assets: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Train on some digits; the data for the network."""
    data, model = np.load(assets / "mnist" / "mnist.npz"), networks.NETWORKS[name][0]()
    shape = (-1, *model.input_shape[1:])
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.9
    x = (data["x_train"][:_TRAIN] / 255).astype(np.float32).reshape(shape)
    model.compile(tf_keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(x, data["y_train"][:_TRAIN], batch_size=64, epochs=2, verbose=0)
    model.save(folder / "model.h5")
    rows = rng.permutation(len(data["x_train"]))[:_CALIBRATION]
    calibration, evaluation = data["x_train"][rows].reshape(shape), data["x_test"][:_DIGITS].reshape(shape)
    return {"x_calibration": calibration, "x_eval": evaluation, "scale": 1 / 255}


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
