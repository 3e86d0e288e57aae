"""The script a good engineer writes around the converter: what edgebuild is measured against.

    python by_hand.py SAVED_MODEL DATA.npz OUT.tflite

Loads the network, converts it to int8 with 200 calibration samples, evaluates it, and times 200 runs.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter


def main(model_path: str, data_path: str, out: str) -> None:
    """Convert, evaluate and time one network."""
    model = tf_keras.models.load_model(model_path, compile=False)
    data = np.load(data_path)
    calibration = data["x_train"][:200]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    Path(out).write_bytes(converter.convert())

    interpreter = Interpreter(model_path=out, num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = source["quantization"]
    right = 0
    for sample, answer in zip(data["x_eval"], data["y_eval"], strict=True):
        stored = np.clip(np.round(sample / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], stored[np.newaxis])
        interpreter.invoke()
        right += int(interpreter.get_tensor(sink["index"])[0].argmax() == answer)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    accuracy = right / len(data["y_eval"])
    print(f"{Path(out).stat().st_size} bytes, accuracy {accuracy:.3f}, median {statistics.median(times) * 1e3:.3f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
