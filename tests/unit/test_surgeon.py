"""One round of surgery as the channel pass asks for it, and what a pass may cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from making import asked

from edgebuild.core.passes import Channels
from edgebuild.errors import UsageError
from edgebuild.layer_costs import tabulate
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery.cost import grids
from edgebuild.passes.surgery.operators import operators
from edgebuild.passes.surgery.surgeon import Surgeon, narrowed
from edgebuild.passes.surgery.tracing import trace


def settings(**fields: Any) -> Channels:
    (step,) = asked(channels={"multiple": 1, "importance": "l2", **fields})
    assert isinstance(step, Channels)
    return step


@pytest.fixture(scope="module")
def graph() -> Graph:
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 3))
    x = shortcut = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Add(name="sum")([x, shortcut])
    x = layers.Conv2D(32, 3, strides=2, activation="relu", name="late")(x)
    outputs = layers.Dense(5, name="answer")(layers.GlobalAveragePooling2D(name="pool")(x))
    return building.read(tf_keras.Model(inputs, outputs))


class Images:
    """Evidence: a loss that says how far a model is from the network it was made of."""

    def __init__(self, graph: Graph) -> None:
        self.x = np.random.default_rng(0).random((16, 8, 8, 3)).astype(np.float32)
        self.wanted = building.build(graph)(self.x).numpy()

    def batches(self, count: int) -> list[tuple[Any, Any]]:
        return [(self.x, self.wanted)][:count]

    def criterion(self, wanted: Any, outputs: Any) -> Any:
        return tf.reduce_mean(tf.square(outputs - wanted + 0.1))

    def losses(self, graph: Graph, parts: Sequence[Graph]) -> list[float]:
        return [float(self.criterion(self.wanted, building.build(part)(self.x))) for part in parts]

    def refresh(self, model: Any) -> None:
        """The network has no batch norms."""


@pytest.mark.parametrize("share", [0.8, 0.5, 0.25])
@pytest.mark.parametrize("cost", ["macs", "bytes"])
def test_a_cut_brings_the_cost_down_to_the_share(graph: Graph, share: float, cost: str) -> None:
    surgeon = Surgeon(graph, settings(cost=cost, rank_by=cost), None, None)
    (cut,) = surgeon.cuts(graph, share)
    assert 0.5 * share < surgeon.share(cut.graph) <= share
    building.build(cut.graph)


def test_shares_are_of_the_first_network_in_every_round(graph: Graph) -> None:
    surgeon = Surgeon(graph, settings(), None, None)
    (first,) = surgeon.cuts(graph, 0.6)
    (second,) = surgeon.cuts(first.graph, 0.4)
    assert surgeon.share(second.graph) <= 0.4
    assert surgeon.cuts(second.graph, 0.5) == []


def test_a_block_is_offered_where_data_can_tell_what_it_is_worth(graph: Graph) -> None:
    plain, shorter = Surgeon(graph, settings(keep="25 %"), None, Images(graph)).cuts(graph, 0.5)
    assert plain.dropped == ()
    assert shorter.dropped == ("sum",)
    assert "inner" not in shorter.graph.layers
    assert len(Surgeon(graph, settings(keep="25 %", blocks=False), None, Images(graph)).cuts(graph, 0.5)) == 1
    # The block has more than may go in the end.
    assert len(Surgeon(graph, settings(keep="90 %"), None, Images(graph)).cuts(graph, 0.9)) == 1


def test_a_later_round_measures_only_the_likeliest_blocks_again() -> None:
    layers = tf_keras.layers
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    for number in range(5):
        x = layers.Add(name=f"sum{number}")([x, layers.Conv2D(8, 3, padding="same", activation="relu")(x)])
    deep = building.read(tf_keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))))
    evidence, asked_for = Images(deep), []
    losses = evidence.losses
    evidence.losses = lambda graph, parts: (  # type: ignore[method-assign]
        asked_for.append(len(parts)) or losses(graph, parts)  # type: ignore[func-returns-value]
    )
    surgeon = Surgeon(deep, settings(keep="25 %"), None, evidence)

    first, _ = surgeon.cuts(deep, 0.8)
    assert asked_for == [5]
    second = surgeon.cuts(first.graph, 0.6)

    assert asked_for == [5, 2]
    assert second[1].dropped


def test_excluded_layers_keep_their_channels_and_their_block(graph: Graph) -> None:
    surgeon = Surgeon(graph, settings(keep="60 %", exclude=["inner"]), None, Images(graph))
    (cut,) = surgeon.cuts(graph, 0.7)
    assert cut.graph.layers["inner"].weights["kernel"].shape == (3, 3, 16, 16)
    assert cut.graph.layers["late"].weights["kernel"].shape[-1] < 32


def test_a_layer_that_is_not_there_cannot_be_excluded(graph: Graph) -> None:
    with pytest.raises(UsageError, match=r'names the layer "lat".*did you mean "late"'):
        Surgeon(graph, settings(exclude=["lat"]), None, None)


def test_channels_go_where_they_take_time(graph: Graph) -> None:
    """Two tables that hold one layer dear and the others cheap."""
    found = operators(graph, trace(graph))
    points = grids(found, 1)
    lost = {}
    for dear in ("stem", "late"):
        shapes = {item.shape: item.layer for item in found if item.shape is not None}
        times = {
            point: point.macs * (1e-6 if shapes[layer] == dear else 1e-9)
            for layer, grid in points.items()
            for point in grid
        }
        surgeon = Surgeon(graph, settings(cost="macs", rank_by="latency"), tabulate(points, times), None)
        (cut,) = surgeon.cuts(graph, 0.7)
        lost[dear] = {
            name: layer.weights["kernel"].shape[-1] for name, layer in cut.graph.layers.items() if layer.weights
        }
    assert lost["stem"]["stem"] < lost["late"]["stem"]
    assert lost["late"]["late"] < lost["stem"]["late"]


def test_what_was_narrowed_is_said_by_layer(graph: Graph) -> None:
    (cut,) = Surgeon(graph, settings(exclude=["late"]), None, None).cuts(graph, 0.5)
    (said,) = narrowed(graph, cut.graph)
    stem = cut.graph.layers["stem"].weights["kernel"].shape[-1]
    assert said == f"channels: stem 16 -> {stem}, inner 16 -> {stem}"
    assert narrowed(graph, graph) == ()
