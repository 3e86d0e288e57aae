"""The embedded example: scikit-learn's 1,797 handwritten digits and a small convolutional network, trained on the spot.

The digits are the test set of the UCI "Optical Recognition of Handwritten Digits" data: 8x8 images, values 0 to 16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from edgebuild.actions.networks import EXAMPLE_DATA, EXAMPLE_MODEL, ExampleJob, Trained
from edgebuild.child import Say

_EPOCHS = 12
_BATCH = 32
_LEARNING_RATE = 5e-3
_EVALUATION = 360
_BRIGHTEST = 16.0


def run(job: ExampleJob, say: Say) -> Trained:
    """Train with the given seed and write the network and its data."""
    keras.utils.set_random_seed(job.seed)
    tf.config.experimental.enable_op_determinism()
    digits: Any = load_digits()
    x = (digits.images / _BRIGHTEST).astype(np.float32)[..., np.newaxis]
    y = digits.target.astype(np.int64)
    order = np.random.default_rng(job.seed).permutation(len(x))
    evaluation, train = order[:_EVALUATION], order[_EVALUATION:]
    model = _network()
    falling = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, _EPOCHS * -(-len(train) // _BATCH))
    model.compile(keras.optimizers.Adam(falling), "sparse_categorical_crossentropy", metrics=["accuracy"])
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: say(f"epoch {epoch + 1} of {_EPOCHS}, accuracy {logs['accuracy']:.3f}")
    )
    model.fit(x[train], y[train], batch_size=_BATCH, epochs=_EPOCHS, verbose=0, callbacks=[told])
    out = Path(job.out)
    model.save(out / EXAMPLE_MODEL)
    np.savez_compressed(
        out / EXAMPLE_DATA,
        x_train=x[train],
        y_train=y[train],
        x_eval=x[evaluation],
        y_eval=y[evaluation],
        labels=np.array([str(label) for label in digits.target_names]),
    )
    return Trained(epochs=_EPOCHS)


def _network() -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = layers.BatchNormalization(momentum=0.9, name="bn1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise2")(x)
    x = layers.BatchNormalization(momentum=0.9, name="bn2")(x)
    x = layers.ReLU(name="relu2")(x)
    x = layers.Conv2D(32, 1, name="pointwise2", activation="relu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(32, activation="relu", name="dense")(x)
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits")
