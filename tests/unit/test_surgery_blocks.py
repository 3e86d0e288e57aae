"""Whole blocks dropped, and whole networks narrowed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tf_keras
from surgery_networks import IMAGE, conv, graph_of
from surgery_proof import end
from tf_keras import layers

from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.student import narrow
from edgebuild.passes.surgery import blocks
from edgebuild.passes.surgery.cost import Macs, ParameterBytes, full_counts, total
from edgebuild.passes.surgery.importance import magnitude
from edgebuild.passes.surgery.operators import operators
from edgebuild.passes.surgery.tracing import trace


def _computes(graph: Graph) -> Any:
    sample = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype(np.float32)
    return building.build(graph)(sample).numpy()


def _residual(x: Any) -> Any:
    x = layers.ReLU(name="stem_relu")(conv("stem")(x))
    y = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(conv("branch", 24)(x)))
    return end(layers.ReLU(name="after")(layers.Add(name="sum")([x, conv("back")(y)])))


def test_a_residual_block_is_found_and_dropped() -> None:
    graph = graph_of(_residual)
    (block,) = blocks.find(graph)
    assert (block.name, block.residual) == ("sum", True)
    shorter = blocks.drop(graph, block)
    assert list(shorter.layers) == ["stem", "stem_relu", "after", "flatten", "end"]
    silent = graph.layers["back"]._replace(
        weights={name: np.zeros_like(array) for name, array in graph.layers["back"].weights.items()}
    )
    nothing_added = graph._replace(layers={**graph.layers, "back": silent})
    assert np.abs(_computes(shorter) - _computes(nothing_added)).max() <= 1e-6
    assert np.abs(_computes(shorter) - _computes(graph)).max() > 1e-3


def test_a_layer_in_a_row_goes_with_its_norm_and_activation() -> None:
    def body(x: Any) -> Any:
        x = conv("one")(x)
        for name in ("two", "three"):
            x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(conv(name)(x)))
        return end(x)

    graph = graph_of(body)
    found = blocks.find(graph)
    assert [(block.name, block.residual, len(block.calls)) for block in found] == [
        ("two_relu", False, 3),
        ("three_relu", False, 3),
    ]
    shorter = blocks.drop(graph, found[0])
    assert list(shorter.layers) == ["one", "three", "three_norm", "three_relu", "flatten", "end"]
    assert _computes(shorter).shape == (2, 2)


def test_a_gate_is_dropped_as_a_whole() -> None:
    def body(x: Any) -> Any:
        x = conv("one")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
        gate = conv("excite", 16, 1, activation="sigmoid")(conv("squeeze", 4, 1, activation="relu")(gate))
        return end(layers.Multiply(name="gate")([x, gate]))

    graph = graph_of(body)
    gate = next(block for block in blocks.find(graph) if block.name == "gate")
    assert list(blocks.drop(graph, gate).layers) == ["one", "flatten", "end"]


def _branch_used_twice(x: Any) -> Any:
    """Without the sum the branch would have to be computed all the same."""
    x = conv("one")(x)
    y = conv("two")(x)
    return end(layers.Concatenate()([layers.Add()([x, y]), y]))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: end(conv("two", 24)(conv("one")(x))),  # no layer keeps the shape
        lambda x: conv("two")(conv("one")(x)),  # an output of the network
        lambda x: end(layers.ReLU()(layers.Permute((2, 1, 3))(conv("one")(x)))),  # nothing with a kernel
        lambda x: end(layers.Add()([conv("one")(x), conv("two")(x)])),  # neither is made of the other
        _branch_used_twice,
    ],
)
def test_what_is_no_block_is_not_found(body: Callable[[Any], Any]) -> None:
    assert blocks.find(graph_of(body)) == ()


def test_a_block_without_which_an_input_would_be_unused_is_none() -> None:
    tf_keras.backend.clear_session()
    left, right = tf_keras.Input(IMAGE), tf_keras.Input(IMAGE)
    x = conv("one")(left)
    both = layers.Concatenate()([x, right])
    model = tf_keras.Model([left, right], end(layers.Add()([x, conv("two")(both)])))
    assert blocks.find(building.read(model)) == ()


@pytest.mark.parametrize("cost", [Macs(), ParameterBytes()])
def test_what_a_block_saves_is_what_the_shorter_network_costs_less(cost: Any) -> None:
    def body(x: Any) -> Any:
        shared = conv("shared")
        x = conv("one")(x)
        x = layers.Add()([x, shared(x)])
        x = layers.Add()([x, shared(conv("two")(x))])
        return end(x)

    graph = graph_of(body)
    channels = trace(graph)
    found = operators(graph, channels)
    whole = total(found, cost, full_counts(channels))
    dropped = [block for block in blocks.find(graph) if block.residual]
    assert len(dropped) == 2
    assert blocks.saved(dropped[1], found, cost, full_counts(channels)) > 0
    for block in dropped:
        shorter = blocks.drop(graph, block)
        rest = trace(shorter)
        left = total(operators(shorter, rest), cost, full_counts(rest))
        assert blocks.saved(block, found, cost, full_counts(channels)) == whole - left


def _filters(graph: Graph) -> dict[str, int]:
    return {name: layer.config["filters"] for name, layer in graph.layers.items() if "filters" in layer.config}


@pytest.mark.parametrize(
    ("width", "multiple", "filters"),
    [
        (1.0, 8, {"stem": 16, "branch": 24, "back": 16}),
        (0.5, 8, {"stem": 8, "branch": 16, "back": 8}),
        (0.5, 4, {"stem": 8, "branch": 12, "back": 8}),
        (0.01, 4, {"stem": 4, "branch": 4, "back": 4}),
        (0.5, 32, {"stem": 16, "branch": 24, "back": 16}),
    ],
)
def test_a_network_is_narrowed_all_over(width: float, multiple: int, filters: dict[str, int]) -> None:
    narrower = narrow(graph_of(_residual), width, multiple)
    assert _filters(narrower) == filters
    assert _computes(narrower).shape == (2, 2)


def test_the_most_important_channels_are_kept() -> None:
    graph = graph_of(_residual)
    channels = trace(graph)
    ranks = magnitude(graph, channels, 2)
    branch = next(group for group in channels.groups if group.name == "branch")
    best = sorted(sorted(range(24), key=lambda channel: ranks[branch.classes[channel]])[8:])
    kept = narrow(graph, 0.6, 8).layers["branch"].weights["bias"]
    assert np.array_equal(kept, graph.layers["branch"].weights["bias"][best])


def test_fresh_weights_are_those_of_the_seed_and_of_nothing_else() -> None:
    graph = graph_of(_residual)
    state = random.getstate(), np.random.get_state()[1].tolist()
    one, same, other = (narrow(graph, 0.5, 8, fresh=seed) for seed in (1, 1, 2))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    assert one.identity() == same.identity() != other.identity()
    kernels = [one.layers[name].weights["kernel"].ravel()[:50] for name in ("stem", "branch", "back")]
    assert all(np.std(kernel) > 0 for kernel in kernels)
    assert not np.array_equal(kernels[0], kernels[1])
    assert not one.layers["stem"].weights["bias"].any()
    assert (one.layers["norm"].weights["gamma"] == 1).all()
    assert one.layers["branch"].config == narrow(graph, 0.5, 8).layers["branch"].config


def test_what_was_learned_from_data_and_not_trained_is_kept_by_fresh_copies() -> None:
    graph = graph_of(lambda x: end(conv("one")(layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0] * 3)(x))))
    measured = graph_of(lambda x: end(conv("one")(layers.Normalization(name="scale")(x))))
    mean = np.float32([1, 2, 3])
    scale = measured.layers["scale"]
    scale = scale._replace(weights={**scale.weights, "mean": mean})
    measured = measured._replace(layers={**measured.layers, "scale": scale})
    assert _filters(narrow(graph, 0.5, 8, fresh=0)) == {"one": 8}
    assert np.array_equal(narrow(measured, 0.5, 8, fresh=0).layers["scale"].weights["mean"], mean)


@pytest.mark.parametrize(("width", "multiple"), [(0.0, 8), (1.1, 8), (0.5, 0)])
def test_a_width_out_of_range_is_refused(width: float, multiple: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        narrow(graph_of(lambda x: end(conv("one")(x))), width, multiple)
