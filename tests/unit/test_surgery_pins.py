"""What must stay, and what the user is told of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from surgery_proof import Body, conv, end, graph_of, groups_of
from tf_keras import layers

from edgebuild.errors import StepError
from edgebuild.passes.surgery.channels import Channels
from edgebuild.passes.surgery.cutting import cut
from edgebuild.passes.surgery.tracing import trace


def reasons_of(channels: Channels) -> dict[str, str]:
    return {item.layer: item.reason for item in channels.left_alone}


class Dense(layers.Layer):
    """A layer of the user's own with the name of one of Keras's."""

    def call(self, x: Any) -> Any:
        return tf.sort(x)


def _attention(x: Any) -> Any:
    x = layers.Reshape((36, 8))(conv("one")(x))
    return end(layers.MultiHeadAttention(2, 4, name="attention")(x, x))


def _shuffled(x: Any) -> Any:
    x = layers.Reshape((36, 4, 2))(conv("one")(x))
    return end(layers.Permute((1, 3, 2))(x))


def _two_axes_in_one(x: Any) -> Any:
    x = layers.Permute((2, 1))(layers.Reshape((36, 8))(conv("one")(x)))
    return end(layers.Dense(9, name="two")(x))


def _tied_to_the_input(x: Any) -> Any:
    return end(layers.Add(name="sum")([x, conv("one", 3)(x)]))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            lambda x: end(layers.LayerNormalization(name="norm")(conv("one")(x))),
            "its channels meet LayerNormalization norm",
        ),
        (
            lambda x: end(layers.GroupNormalization(2, name="norm")(conv("one")(x))),
            "its channels meet GroupNormalization norm",
        ),
        (lambda x: end(layers.Softmax(name="choice")(conv("one")(x))), "its channels meet Softmax choice"),
        (
            lambda x: end(layers.Conv2D(8, 1, activation="softmax", name="one")(x)),
            "its channels meet the activation of one",
        ),
        (lambda x: end(layers.Lambda(lambda y: y * 2, name="own")(conv("one")(x))), "its channels meet Lambda own"),
        (lambda x: end(Dense(name="own")(conv("one")(x))), "its channels meet Dense own"),
        (_attention, "its channels meet MultiHeadAttention attention"),
        (_shuffled, "its channels meet Reshape"),
        (_two_axes_in_one, "its channels meet Flatten"),
        (lambda x: end(tf.reduce_sum(conv("one")(x), -1)), "its channels meet TFOpLambda tf.math.reduce_sum"),
        (lambda x: end(conv("one")(x)[..., ::2]), "its channels meet SlicingOpLambda"),
        (lambda x: end(conv("one")(x)[..., 1]), "its channels meet SlicingOpLambda"),
        (lambda x: end(conv("one")(x) * np.arange(8.0, dtype=np.float32)), "its channels meet TFOpLambda"),
        (lambda x: end(tf.add(conv("one")(x), [1.0] * 8)), "its channels meet TFOpLambda"),
        (
            lambda x: end(layers.MaxPooling2D(2)(layers.Permute((3, 1, 2))(conv("one")(x)))),
            "its channels meet MaxPooling2D",
        ),
        (_tied_to_the_input, "its channels meet Add sum, where they are tied to what must stay"),
        (conv("one"), "its channels are an output of the network"),
        (lambda x: end(x * conv("one", 1)(x)), "it has a single channel"),
        (lambda x: end(conv("one", 1)(x)), "it has a single channel"),
        (
            lambda x: end(conv("one", 9, groups=3)(x)),
            "its channels meet Conv2D one, where they are tied to what must stay",
        ),
    ],
)
def test_what_cannot_go_is_left_alone_for_a_reason(body: Body, reason: str) -> None:
    channels = trace(graph_of(body))
    assert channels.groups == ()
    assert reasons_of(channels)["one"].startswith(reason)


@pytest.mark.parametrize(
    ("body", "layer", "reason"),
    [
        (_attention, "attention", "edgebuild does not know the channels of MultiHeadAttention"),
        (
            lambda x: end(layers.Bidirectional(layers.LSTM(4), name="both")(layers.Reshape((36, 3))(x))),
            "both",
            "the units of a Bidirectional layer are not pruned",
        ),
    ],
)
def test_a_layer_whose_own_channels_stay_is_named(body: Body, layer: str, reason: str) -> None:
    assert reasons_of(trace(graph_of(body)))[layer] == reason


def test_channels_that_are_left_alone_are_told_in_a_sentence() -> None:
    def body(x: Any) -> Any:
        padded = tf.pad(conv("one", 6)(x), [[0, 0], [0, 0], [0, 0], [0, 2]])
        return end(layers.Add(name="sum")([padded, conv("two")(x)]))

    channels = trace(graph_of(body))
    assert groups_of(channels) == {("one", "two"): 6}
    assert [item.text for item in channels.left_alone] == [
        "two: 2 of its 8 channels are left alone: its channels meet Add sum, where they are tied to what must stay",
        "end: left alone: its channels are an output of the network",
    ]


def test_a_channel_that_is_spread_over_others_stays() -> None:
    def body(x: Any) -> Any:
        x = conv("one")(x)
        return end(layers.Multiply(name="gate")([x, x[..., 3:4]]))

    channels = trace(graph_of(body))
    assert [group.classes for group in channels.groups] == [(0, 1, 2, 4, 5, 6, 7)]
    assert channels.left_alone[0].text == (
        "one: 1 of its 8 channels are left alone: its one channel is spread over many in Multiply gate"
    )


def test_a_network_with_nothing_to_prune_is_returned_as_it_is_and_says_why() -> None:
    graph = graph_of(lambda x: layers.Softmax()(layers.Dense(2, name="only")(layers.Flatten()(x))))
    channels = trace(graph)
    assert channels.groups == ()
    assert [item.text for item in channels.left_alone] == ["only: left alone: its channels meet Softmax softmax"]
    assert cut(graph, channels, []) is graph


@pytest.mark.parametrize("asked", [[8], [99], [-1]])
def test_what_must_stay_cannot_be_removed(asked: list[int]) -> None:
    graph = graph_of(lambda x: end(conv("one")(x)))
    channels = trace(graph)
    with pytest.raises(StepError, match="cannot be removed"):
        cut(graph, channels, asked)
