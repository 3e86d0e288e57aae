"""The network that passes of plug-ins are tried on by `edgebuild.testing`."""

from __future__ import annotations

from typing import Any


def network() -> Any:
    """A Keras model of images [8, 8, 1] with two convolutions and 4 classes, drawn with a seed."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(8, 3, activation="relu", name="first"),
            layers.Conv2D(16, 3, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(4, activation="softmax", name="classes"),
        ],
        name="tried",
    )
