"""Makers of small Keras networks with random weights, and the proof that one was carried over rightly."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from edgebuild.passes.graph import from_keras3, proof
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.loading import from_keras_model

IMAGE, ROWS, VOLUME = (8, 8, 6), (8, 6), (6, 6, 6, 4)
Make = Callable[[Any], Any]


def shaken(model: Any, seed: int = 0) -> Any:
    """The model with random weights everywhere, statistics of batch norms too."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        name = getattr(variable, "path", variable.name)
        if str(variable.dtype).endswith("float32") or variable.dtype == tf.float32:
            drawn = rng.normal(0, 0.5, tuple(variable.shape))
            variable.assign(np.abs(drawn) + 0.5 if "variance" in name else drawn)
    return model


def network(shape: tuple[int, ...], make: Make, dtype: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape, dtype=dtype, name="given")
    return shaken(keras.Model(inputs, make(inputs), name="net"))


def require_same(model: Any) -> Graph:
    """The model's graph, proven to compute the same."""
    graph = from_keras3.read(model)
    assert proof.require_equal(from_keras_model(model).call, graph, seed=3) <= proof.TOLERANCE
    return graph


def kinds(graph: Graph) -> list[str]:
    return [graph.layers[call.layer].kind.__name__ for call in graph.calls]
