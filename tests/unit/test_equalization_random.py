"""Channels of networks that nobody thought of, rescaled at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import surgery_proof
import tf_keras
from hypothesis import given as for_all, settings, strategies as st
from test_surgery_random import UNHURRIED, images, sequences

from edgebuild.passes.equalization.scaling import Scaling, rescaled
from edgebuild.passes.equalization.tracing import trace
from edgebuild.passes.graph import building
from edgebuild.passes.graph.proof import difference, outputs_of


def random_scales(scaling: Scaling, seed: int) -> Any:
    """Scales over two decades where they are free; classes that a cap cuts off are left alone."""
    scales = 10 ** np.random.default_rng(seed).uniform(-1, 1, scaling.classes)
    scales[list(scaling.pinned)] = 1
    for cap in scaling.caps:
        for vector in scaling.axes[cap.tensor]:
            if vector is not None:
                scales[vector[vector >= 0]] = 1
    return scales


def _proved(network: tuple[tf_keras.Model, list[Any]], seed: int) -> None:
    model, samples = network
    graph = surgery_proof.lively(building.read(model), seed)
    graph = surgery_proof.settled(graph, building.build(graph), *samples)
    scaling = trace(graph)
    scaled = rescaled(graph, scaling, random_scales(scaling, seed))
    before, after = (outputs_of(building.build(item), samples) for item in (graph, scaled))
    for one, other in zip(before, after, strict=True):
        assert difference(one, other) <= 1e-5


@settings(UNHURRIED, max_examples=10)
@for_all(st.data(), st.integers(0, 99))
def test_a_rescaled_network_over_images_computes_the_same(data: st.DataObject, seed: int) -> None:
    _proved(images(data.draw, shifts=True), seed)


@settings(UNHURRIED, max_examples=5)
@for_all(st.data(), st.integers(0, 99))
@pytest.mark.slow
def test_a_rescaled_network_over_sequences_computes_the_same(data: st.DataObject, seed: int) -> None:
    _proved(sequences(data.draw, tokens=True), seed)


@pytest.mark.slow
@settings(UNHURRIED, max_examples=12)
@for_all(st.data(), st.integers(0, 99), st.booleans())
def test_many_rescaled_networks_compute_the_same(data: st.DataObject, seed: int, over_images: bool) -> None:
    _proved(images(data.draw, shifts=True) if over_images else sequences(data.draw, tokens=True), seed)
