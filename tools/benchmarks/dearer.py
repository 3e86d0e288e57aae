"""A network of so many equal int8 convolutions, so that 22 of them are exactly 10 % dearer than 20.

python dearer.py CONVOLUTIONS OUT.tflite
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras

_SIZE = 16
_CHANNELS = 32


def main(convolutions: int, out: Path) -> None:
    """Make it, with random weights, and convert it: full integer, ranges from random inputs."""
    tf_keras.utils.set_random_seed(0)
    x = inputs = tf_keras.layers.Input((_SIZE, _SIZE, _CHANNELS), batch_size=1)
    for number in range(convolutions):
        x = tf_keras.layers.Conv2D(_CHANNELS, 3, padding="same", activation="relu", name=f"convolution{number}")(x)
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(inputs, x))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    samples = rng.random((4, 1, _SIZE, _SIZE, _CHANNELS), np.float32)
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    out.write_bytes(converter.convert())


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
