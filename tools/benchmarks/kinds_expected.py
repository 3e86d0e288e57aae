"""A network's own outputs for its evaluation samples, by its own Keras: `NETWORK DATA.npz OUT.npz`; see kinds.py."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf


def main(network: str, data: str, out: str) -> None:
    """Run sample after sample, so that networks with state see what an artifact sees."""
    kit = import_module("tf_keras" if network.endswith(".h5") else "keras")
    model: Any = kit.models.load_model(network, compile=False)
    arrays = np.load(data)
    inputs = [_array(arrays, tensor.name.split(":")[0]) for tensor in model.inputs]
    rows = []
    for row in range(len(inputs[0])):
        fed = [tf.constant(array[row : row + 1]) for array in inputs]
        rows.append(tf.nest.flatten(model(fed[0] if len(fed) == 1 else fed, training=False)))
    outputs = [np.concatenate([np.asarray(found[place]) for found in rows]) for place in range(len(rows[0]))]
    np.savez(out, **{f"input{place}": array for place, array in enumerate(inputs)},
             **{f"output{place}": array for place, array in enumerate(outputs)})  # fmt: skip


def _array(arrays: Any, name: str) -> np.ndarray:
    found: np.ndarray = arrays[f"x_eval/{name}"] if f"x_eval/{name}" in arrays else arrays["x_eval"]
    return found


if __name__ == "__main__":
    main(*map(str, map(Path, sys.argv[1:4])))
