"""Bias correction by batch norms alone."""

from __future__ import annotations

import math
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tf_keras
from tf_keras import layers

from edgebuild.passes.calibration import correcting
from edgebuild.passes.calibration.grid import with_weights_onto
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph


@pytest.mark.parametrize("ends", [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.5)])
def test_the_mean_of_a_clipped_normal_is_that_of_many_draws(ends: tuple[float, float]) -> None:
    mean, deviation = np.array([-2.0, 0.0, 0.7, 5.5]), np.array([1.0, 0.5, 2.0, 1.5])
    draws = np.clip(np.random.default_rng(0).normal(mean, deviation, (400_000, 4)), *ends)
    assert correcting.clipped_mean(mean, deviation, *ends) == pytest.approx(draws.mean(0), abs=0.01)


def _network(taker: Any, activation: Any, *, pooled: bool = False) -> Graph:
    """A batch norm that tells, an activation, and a layer that takes what comes out."""
    tf_keras.backend.clear_session()
    given = layers.Input((9, 9, 4))
    tensor = activation(layers.BatchNormalization(name="norm")(given))
    tensor = layers.Flatten()(layers.GlobalAveragePooling2D()(tensor)) if pooled else tensor
    graph = building.read(tf_keras.Model(given, taker(tensor)))
    rng = np.random.default_rng(0)
    told = {"gamma": rng.uniform(0.5, 2, 4), "beta": rng.normal(0, 1, 4)}
    norm = graph.layers["norm"]
    norm = norm._replace(weights={**norm.weights, **{name: v.astype(np.float32) for name, v in told.items()}})
    drawn = {
        name: rng.normal(size=array.shape).astype(np.float32) for name, array in graph.layers["taker"].weights.items()
    }
    return graph._replace(layers={**graph.layers, "norm": norm, "taker": graph.layers["taker"]._replace(weights=drawn)})


@pytest.mark.parametrize(
    ("taker", "pooled"),
    [
        (layers.Conv2D(5, 3, name="taker"), False),
        (layers.Conv2D(5, 3, use_bias=False, name="taker"), False),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, name="taker"), False),
        (layers.Dense(6, name="taker"), True),
    ],
    ids=["convolution", "without bias", "depthwise", "dense"],
)
@pytest.mark.parametrize("activation", [layers.ReLU(), layers.ReLU(6), layers.Activation("relu")])
def test_the_means_of_rounded_layers_come_back(taker: Any, pooled: bool, activation: Any) -> None:
    exact = _network(taker, activation, pooled=pooled)
    coarse = {
        name: np.round(array) if array.ndim > 1 else array for name, array in exact.layers["taker"].weights.items()
    }
    rounded = exact._replace(
        layers={**exact.layers, "taker": exact.layers["taker"]._replace(weights=coarse)},
    )
    onto = with_weights_onto(rounded.layers["taker"])
    rounded = rounded._replace(layers={**rounded.layers, "taker": onto})
    found = correcting.corrected_by_batch_norms(exact, rounded)
    assert found.layers == 1
    # What a batch norm sees of standard normal values is as usual for it.
    samples = np.random.default_rng(1).normal(size=(600, 9, 9, 4)).astype(np.float32)
    wanted, before, after = (_means(graph, samples) for graph in (exact, rounded, found.graph))
    assert np.abs(after - wanted).max() < 0.1 * np.abs(before - wanted).max()


def _means(graph: Graph, samples: Any) -> Any:
    made = building.build(graph)(samples, training=False).numpy()
    return made.mean(tuple(range(made.ndim - 1)))


def test_layers_of_which_nothing_is_known_stay() -> None:
    tf_keras.backend.clear_session()
    given = layers.Input((9, 9, 4))
    tensor = layers.Conv2D(3, 3, activation="relu")(layers.MaxPooling2D()(layers.BatchNormalization()(given)))
    graph = building.read(tf_keras.Model(given, layers.Conv2D(2, 1)(tensor)))
    assert correcting.corrected_by_batch_norms(graph, graph) == (graph, 0)
