"""What TensorFlow's converter alone makes of a network: python float_ends.py MODEL SAMPLES FLOAT INT8.

Writes the network in float32 and in int8 (full integer inside, float at both ends), both with a batch of 1.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras


def main(model_path: str, samples_path: str, float_path: str, int8_path: str) -> None:
    """Convert twice."""
    model = tf_keras.models.load_model(model_path, compile=False)
    samples = np.load(samples_path)
    given = tf_keras.Input(batch_shape=[1, *model.inputs[0].shape[1:]])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf_keras.Model(given, model(given)), folder)
        Path(float_path).write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
        converter: Any = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
        Path(int8_path).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
