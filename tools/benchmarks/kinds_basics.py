"""What the kinds of networks share: their table, seeded data of a few shapes, and a short training."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers as k3

SAMPLES, KEPT = 240, 80
STEPS, SIDE, CLASSES = 12, 16, 4

Made = tuple[Any, dict[str, np.ndarray]]
KINDS: dict[str, Callable[[], Made]] = {}


def kind(make: Callable[[], Made]) -> Callable[[], Made]:
    """Enter a function by its name."""
    KINDS[make.__name__.strip("_")] = make
    return make


def rng() -> np.random.Generator:
    """The same numbers for each that asks."""
    return np.random.default_rng(0)


def classes() -> np.ndarray:
    """The class of each sample."""
    return rng().integers(0, CLASSES, SAMPLES)


def images(side: int = SIDE, channels: int = 3) -> np.ndarray:
    """Noise around a bright patch, whose corner is the class."""
    x = rng().normal(0, 0.3, (SAMPLES, side, side, channels)).astype("f4")
    half = side // 2
    for row, label in enumerate(classes()):
        top, left = divmod(int(label), 2)
        x[row, top * half : top * half + half, left * half : left * half + half] += 1
    return x


def sequences(steps: int = STEPS) -> np.ndarray:
    """Noisy sines whose frequency is the class."""
    random, t = rng(), np.arange(steps)
    x = np.sin(0.4 * (classes()[:, None, None] + 1) * t[None, :, None] + random.uniform(0, 6.28, (SAMPLES, 1, 3)))
    return (x + random.normal(0, 0.2, x.shape)).astype("f4")


def data(y: np.ndarray | None = None, **x: np.ndarray) -> dict[str, np.ndarray]:
    """Splits of the arrays by input; a single one is called x."""
    found = {}
    for name, array in x.items():
        tail = "" if name == "x" else f"/{name}"
        found |= {f"x_train{tail}": array[:-KEPT], f"x_eval{tail}": array[-KEPT:]}
    return found if y is None else {**found, "y_train": y[:-KEPT], "y_eval": y[-KEPT:]}


def trained(model: Any, data: dict[str, np.ndarray], loss: str = "sparse_categorical_crossentropy") -> Made:
    """Three epochs of it."""
    model.compile("adam", loss)
    model.fit(data["x_train"], data["y_train"], epochs=3, verbose=0)
    return model, data


def head(layers: list[Any]) -> Any:
    """A classifier that begins with these layers."""
    return keras.Sequential([*layers, k3.Dense(CLASSES, activation="softmax", name="kinds")])


def convolutional(activation: Any = "relu", **first: Any) -> Any:
    """Two convolutions and their features, flat; `first` is for the Input."""
    return [
        k3.Input((SIDE, SIDE, 3), **first),
        k3.Conv2D(8, 3, activation=activation),
        k3.MaxPooling2D(),
        k3.Conv2D(8, 3, activation=activation),
        k3.Flatten(),
    ]
