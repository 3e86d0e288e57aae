"""What TensorFlow's converter alone makes of a network in int8: python plain_converter.py MODEL DATA SCALE OUT."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras

_SAMPLES = 200


def main(model_path: str, data_path: str, scale: str, out: str) -> None:
    """Convert with 200 samples of x_train, inputs and outputs in int8, a batch of 1."""
    model = tf_keras.models.load_model(model_path, compile=False)
    x = np.load(data_path)["x_train"][:_SAMPLES].astype(np.float32) * float(scale)
    shape = [1, *model.inputs[0].shape[1:]]
    given = tf_keras.Input(batch_shape=shape)
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(given, model(given)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.representative_dataset = lambda: ([sample.reshape(shape)] for sample in x)
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
