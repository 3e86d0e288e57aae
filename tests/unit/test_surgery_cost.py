"""What channels cost: counted, foretold, measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import surgery_proof
import tensorflow as tf
from surgery_networks import conv, graph_of, plain
from surgery_proof import end
from tf_keras import layers

from edgebuild import layer_costs
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.layer_costs import LatencyTable, tabulate
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery.channels import Channels
from edgebuild.passes.surgery.cost import Cost, Latency, Macs, ParameterBytes, Savings, full_counts, grids, total
from edgebuild.passes.surgery.cutting import cut
from edgebuild.passes.surgery.operators import operators
from edgebuild.passes.surgery.tracing import trace


def _mixed(x: Any) -> Any:
    """Something of each kind of operator."""
    x = conv("one", 8)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.Add()([conv("two", 16, groups=4)(x), layers.SeparableConv2D(16, 3, padding="same", name="three")(x)])
    x = layers.Conv2DTranspose(8, 2, 2, name="four")(layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(x)))
    shared = conv("shared", 8, 1)
    x = layers.Reshape((-1, 8))(shared(shared(x)))
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True))(layers.Conv1D(6, 3, strides=4, name="five")(x))
    return end(layers.LSTM(5, name="six", return_sequences=True)(x))


def _cost(graph: Graph, cost: Cost) -> float:
    channels = trace(graph)
    return total(operators(graph, channels), cost, full_counts(channels))


def test_macs_and_bytes_are_those_of_the_arithmetic() -> None:
    graph = graph_of(plain)
    convolutions = 64 * 9 * 3 * 16 + 16 * 9 * 16 * 32 + 16 * 32 * 24
    assert _cost(graph, Macs()) == convolutions + 16 * 24 * 2
    weights = 9 * 3 * 16 + 9 * 16 * 32 + 32 * 24 + 16 * 24 * 2
    assert _cost(graph, ParameterBytes()) == weights + 12 * (16 + 32 + 24 + 2)


@pytest.mark.parametrize(
    ("body", "macs"),
    [
        (layers.DepthwiseConv2D(3, depth_multiplier=2), 36 * 9 * 6),
        (layers.SeparableConv2D(4, 3, depth_multiplier=2), 36 * 9 * 6 + 36 * 6 * 4),
        (layers.Conv2DTranspose(4, 2, 2), 64 * 4 * 3 * 4),
        (layers.Conv2D(6, 3, groups=3), 36 * 9 * 1 * 6),
        (lambda x: layers.LSTM(5)(layers.Reshape((64, 3))(x)), 64 * (3 + 5) * 20),
        (layers.TimeDistributed(layers.Dense(4)), 64 * 3 * 4),
        (layers.TimeDistributed(layers.Conv1D(4, 3)), 8 * 6 * 3 * 3 * 4),
        (lambda x: layers.BatchNormalization()(layers.MaxPooling2D()(x)), 0),
    ],
)
def test_macs_of_other_layers_are_those_of_the_arithmetic(body: Callable[[Any], Any], macs: int) -> None:
    assert _cost(graph_of(body), Macs()) == macs


@pytest.mark.parametrize("body", [plain, _mixed])
def test_a_cost_foretold_is_that_of_the_network_once_cut(body: Callable[[Any], Any]) -> None:
    graph = graph_of(body)
    channels = trace(graph)
    found = operators(graph, channels)
    for seed in range(3):
        removed = surgery_proof.some(channels, seed)
        counts = [len(set(group.classes) - removed) for group in channels.groups]
        smaller = cut(graph, channels, removed)
        for cost in (Macs(), ParameterBytes()):
            assert total(found, cost, counts) == _cost(smaller, cost) < _cost(graph, cost)


class Conv2D(layers.Layer):
    """A layer of the user's own with the name of one of Keras's."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(name="table", shape=(5, 7))

    def call(self, x: Any) -> Any:
        return x + tf.reduce_mean(self.table)


def test_the_weights_of_a_layer_that_is_not_known_are_counted() -> None:
    assert _cost(graph_of(Conv2D()), ParameterBytes()) == 35
    assert _cost(graph_of(lambda x: layers.MultiHeadAttention(2, 3)(x, x)), ParameterBytes()) == 4 * 3 * 6 + 3 * 6


def test_weights_that_are_used_twice_are_computed_twice_and_stored_once() -> None:
    def body(x: Any) -> Any:
        layer = conv("one", 3)
        return layer(layer(x))

    graph = graph_of(body)
    assert _cost(graph, Macs()) == 2 * 64 * 9 * 3 * 3
    assert _cost(graph, ParameterBytes()) == 9 * 3 * 3 + 12 * 3


def test_savings_are_the_difference_in_the_total() -> None:
    graph = graph_of(_mixed)
    channels = trace(graph)
    found, counts = operators(graph, channels), full_counts(channels)
    savings = Savings(found, Macs(), len(counts))
    for group, count in enumerate(counts):
        fewer = [*counts[:group], count - 1, *counts[group + 1 :]]
        assert savings.of(group, count - 1, counts) == total(found, Macs(), counts) - total(found, Macs(), fewer)
        assert group in savings.touched(group)


def test_layers_have_the_shapes_that_their_kernels_see() -> None:
    graph = graph_of(plain)
    shapes = [operator.shape for operator in operators(graph, trace(graph))]
    assert shapes[1] == LayerShape(
        kind=LayerKind.CONV_2D, height=8, width=8, in_channels=16, out_channels=32, kernel=(3, 3), strides=(2, 2),
        padding="same",
    )  # fmt: skip
    assert shapes[3] == LayerShape(kind=LayerKind.FULLY_CONNECTED, width=16, in_channels=24, out_channels=2)
    assert sum(shape.macs for shape in shapes if shape) == _cost(graph, Macs())


def test_a_convolution_of_an_image_with_one_channel_is_not_depthwise() -> None:
    graph = graph_of(conv("one", 16), (8, 8, 1))
    (operator,) = operators(graph, trace(graph))
    assert operator.shape is not None
    assert operator.shape.kind == LayerKind.CONV_2D


def _table(graph: Graph, channels: Channels, seconds: Callable[[LayerShape], float]) -> LatencyTable:
    wanted = grids(operators(graph, channels), 8)
    return tabulate(wanted, {shape: seconds(shape) for shapes in wanted.values() for shape in shapes})


def test_latency_is_that_of_the_table() -> None:
    graph = graph_of(plain)
    channels = trace(graph)
    found = operators(graph, channels)
    table = _table(graph, channels, lambda shape: shape.in_channels * shape.out_channels * 1e-9)
    cost = Latency(table, found, channels)
    assert total(found, cost, full_counts(channels)) == pytest.approx((3 * 16 + 16 * 32 + 32 * 24 + 24 * 2) * 1e-9)
    assert total(found, cost, [8, 16, 24]) == pytest.approx((3 * 8 + 8 * 16 + 16 * 24 + 24 * 2) * 1e-9)


def test_an_operator_that_cannot_be_timed_costs_as_much_a_mac_as_the_others() -> None:
    graph = graph_of(lambda x: end(layers.Conv2DTranspose(16, 2, 2, name="two")(conv("one", 16)(x))))
    channels = trace(graph)
    found = operators(graph, channels)
    assert [operator.layer for operator in found if operator.shape is None] == ["two"]
    cost = Latency(_table(graph, channels, lambda shape: shape.macs * 2e-9), found, channels)
    assert total(found, cost, [16, 16]) == pytest.approx(2e-9 * _cost(graph, Macs()))


def test_only_counts_that_can_shrink_are_measured() -> None:
    graph = graph_of(plain)
    first = next(iter(grids(operators(graph, trace(graph)), 8)))
    assert first.in_channels == 3
    shapes = layer_costs.grid(first, 8, input_shrinks=False)
    assert grids(operators(graph, trace(graph)), 8)[first] == shapes
    assert {shape.in_channels for shape in shapes} == {3}
