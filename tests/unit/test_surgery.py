from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import surgery_proof
import tensorflow as tf
import tf_keras
from surgery_proof import IMAGE, Body, conv, end, graph_of, groups_of, sample
from tf_keras import layers

from edgebuild.errors import StepError
from edgebuild.passes.graph import building
from edgebuild.passes.surgery.cutting import cut, silence
from edgebuild.passes.surgery.tracing import trace


def _residual(x: Any) -> Any:
    one = conv("one")(x)
    return end(layers.Add()([one, conv("two")(one)]))


def _sum_of_joined(x: Any) -> Any:
    joined = layers.Concatenate()([conv("one", 4)(x), conv("two", 6)(x)])
    return end(layers.Add()([joined, conv("three", 10)(x)]))


def _squeeze_and_excite(x: Any) -> Any:
    x = conv("one")(x)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(conv("squeeze", 4, 1)(gate))
    return end(layers.Multiply()([x, gate]))


def _gate_of_a_lower_rank(x: Any) -> Any:
    x = conv("one")(x)
    return end(
        layers.Multiply()([x, layers.Dense(8, activation="sigmoid", name="gate")(layers.GlobalMaxPooling2D()(x))])
    )


def _shared(x: Any) -> Any:
    layer = conv("shared", 6)
    return end(layers.Concatenate()([layer(conv("one")(x)), layer(conv("two")(x))]))


def _slices(x: Any) -> Any:
    x = conv("one")(x)[:, 1:, ..., -5:]  # what it does not take, no layer consumes
    return end(conv("two", 4)(x[:, :, 1:3, :]))


def _split(x: Any) -> Any:
    left, right = tf.split(conv("one")(x), 2, axis=-1)
    return end(tf.concat([conv("two", 4)(right), left * 2.0], axis=-1))


def _hard_swish(x: Any) -> Any:
    x = conv("one")(x)
    return end(x * (tf.nn.relu6(x + 3.0) / 6.0))


def _moved(x: Any) -> Any:
    x = tf.transpose(conv("one")(x), [0, 2, 1, 3])
    x = tf.squeeze(tf.expand_dims(tf.reshape(x, (-1, 36, 8)), 1), 1)
    return end(layers.Conv1D(4, 3, name="two")(x))


def _states(x: Any) -> Any:
    first = layers.Dense(6, activation="tanh", name="first")(layers.Flatten()(x))
    x = layers.Reshape((36, 3))(x)
    return end(layers.LSTM(6, name="lstm", return_sequences=True)(x, initial_state=[first, first]))


def _tokens(x: Any) -> Any:
    x = layers.Permute((2, 1))(layers.Reshape((36, 8))(conv("one")(x)))
    x = layers.Permute((2, 1))(layers.Dense(9, use_bias=False, name="two")(x))
    return end(layers.GlobalMaxPooling1D()(x))


def _channels_first(x: Any) -> Any:
    x = layers.Permute((3, 1, 2))(conv("one")(x))
    pooled = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return end(layers.Concatenate()([pooled, layers.Flatten(data_format="channels_first")(x)]))


# What is grouped with what in each of these networks, and how many classes there are.
NETWORKS: dict[str, tuple[Body, dict[tuple[str, ...], int]]] = {
    "convolution": (lambda x: end(conv("two")(conv("one")(x))), {("one",): 8, ("two",): 8}),
    "strides": (lambda x: end(layers.Conv2D(4, 3, 2, name="two")(conv("one")(x))), {("one",): 8, ("two",): 4}),
    "residual": (_residual, {("one", "two"): 8}),
    "difference": (lambda x: end(layers.Subtract()([conv("one")(x), conv("two")(x)])), {("one", "two"): 8}),
    "depthwise": (lambda x: end(layers.DepthwiseConv2D(3, bias_initializer="ones")(conv("one")(x))), {("one",): 8}),
    "depthwise twice": (lambda x: end(layers.DepthwiseConv2D(3, depth_multiplier=2)(conv("one")(x))), {("one",): 8}),
    "separable": (
        lambda x: end(layers.SeparableConv2D(4, 3, depth_multiplier=2, name="two")(conv("one")(x))),
        {("one",): 8, ("two",): 4},
    ),
    "transposed": (
        lambda x: end(layers.Conv2DTranspose(4, 3, name="two")(conv("one")(x))),
        {("one",): 8, ("two",): 4},
    ),
    "groups": (lambda x: end(conv("two", 4, groups=2)(conv("one")(x))), {("one", "two"): 2}),
    "as many groups as inputs": (lambda x: end(conv("two", 16, groups=8)(conv("one")(x))), {("one", "two"): 8}),
    "batch norm": (lambda x: end(layers.ReLU()(layers.BatchNormalization()(conv("one")(x)))), {("one",): 8}),
    "batch norm of an image": (
        lambda x: end(layers.BatchNormalization()(layers.Flatten()(conv("one")(x)))),
        {("one",): 8},
    ),
    "alphas": (lambda x: end(layers.PReLU()(conv("one")(x))), {("one",): 8}),
    "a layer for an activation": (
        lambda x: end(layers.Conv2D(8, 1, activation=layers.LeakyReLU(), name="one")(x)),
        {("one",): 8},
    ),
    "shared alphas": (lambda x: end(layers.PReLU(shared_axes=[1, 2])(conv("one")(x))), {("one",): 8}),
    "joined": (
        lambda x: end(layers.Concatenate()([conv("one", 4)(x), x, conv("two", 6)(x)])),
        {("one",): 4, ("two",): 6},
    ),
    "a sum of joined ones": (_sum_of_joined, {("one", "three"): 4, ("three", "two"): 6}),
    "squeeze and excite": (_squeeze_and_excite, {("excite", "one"): 8, ("squeeze",): 4}),
    "a gate of a lower rank": (_gate_of_a_lower_rank, {("gate", "one"): 8}),
    "pooling": (lambda x: end(layers.AveragePooling2D(2)(layers.MaxPooling2D(2)(conv("one")(x)))), {("one",): 8}),
    "padding": (lambda x: end(layers.Cropping2D(1)(layers.ZeroPadding2D(2)(conv("one")(x)))), {("one",): 8}),
    "up-sampling": (lambda x: end(layers.UpSampling2D(2)(conv("one")(x))), {("one",): 8}),
    "kept dimensions": (lambda x: end(layers.GlobalMaxPooling2D(keepdims=True)(conv("one")(x))), {("one",): 8}),
    "permutation": (lambda x: end(layers.Permute((2, 3, 1))(conv("one")(x))), {("one",): 8}),
    "a sequence": (
        lambda x: end(layers.Conv1D(4, 3, name="two")(layers.Reshape((-1, 8))(conv("one")(x)))),
        {("one",): 8, ("two",): 4},
    ),
    "noise of a shape": (
        lambda x: end(layers.Dropout(0.1, noise_shape=(None, 1, 1, 8))(conv("one")(x))),
        {("one",): 8},
    ),
    "shared layers": (_shared, {("shared",): 6, ("one", "two"): 8}),
    "slices": (_slices, {("one",): 5, ("two",): 4}),
    "halves": (_split, {("one",): 4, ("two",): 4}),
    "hard swish": (_hard_swish, {("one",): 8}),
    "moved by functions": (_moved, {("one",): 8, ("two",): 4}),
    "reduced by functions": (lambda x: end(tf.reduce_mean(conv("one")(x), [1, 2], keepdims=True)), {("one",): 8}),
    "resized by functions": (lambda x: end(tf.image.resize(conv("one")(x), (3, 3))), {("one",): 8}),
    "padded by functions": (lambda x: end(tf.pad(conv("one")(x), [[0, 0], [1, 1], [0, 0], [0, 2]])), {("one",): 8}),
    "tokens": (_tokens, {("one",): 8}),
    "recurrent": (
        lambda x: end(layers.LSTM(4, name="lstm")(layers.RepeatVector(3)(layers.GlobalMaxPooling2D()(conv("one")(x))))),
        {("one",): 8, ("lstm",): 4},
    ),
    "recurrent with states": (_states, {("first", "lstm"): 6}),
    "both directions": (
        lambda x: end(layers.Bidirectional(layers.GRU(4))(layers.Reshape((36, 8))(conv("one")(x)))),
        {("one",): 8},
    ),
    "each step": (
        lambda x: end(layers.TimeDistributed(layers.Conv1D(4, 3), name="two")(conv("one")(x))),
        {("one",): 8, ("two",): 4},
    ),
    "volumes": (
        lambda x: end(
            layers.Conv3D(4, 2, name="two")(layers.Conv3D(6, 1, name="one")(layers.Reshape((6, 6, 3, 1))(x)))
        ),
        {("one",): 6, ("two",): 4},
    ),
    "channels first": (_channels_first, {("one",): 8}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_are_coupled_and_cut_through(name: str) -> None:
    body, groups = NETWORKS[name]
    graph = graph_of(body)
    channels = trace(graph)
    assert groups_of(channels) == groups
    proof = surgery_proof.prove(graph, channels, surgery_proof.some(channels), sample())
    assert proof.consumers <= 1e-5
    assert proof.producers <= 1e-5
    assert proof.effect > 1e-3
    assert proof.smaller.parameters < graph.parameters


def test_an_embedding_loses_columns_also_where_it_was_made_of_a_matrix() -> None:
    matrix = tf_keras.initializers.Constant(np.ones((5, 6), np.float32))
    words = layers.Embedding(5, 6, embeddings_initializer=matrix, name="words")
    graph = graph_of(lambda x: end(layers.Conv1D(4, 3, name="conv")(words(x))), (8,), "int32")
    channels = trace(graph)
    assert groups_of(channels) == {("words",): 6, ("conv",): 4}
    proof = surgery_proof.prove(graph, channels, [0, 2], np.arange(16).reshape(2, 8) % 5)
    assert proof.smaller.layers["words"].weights["embeddings"].shape == (5, 4)
    assert max(proof.consumers, proof.producers) <= 1e-5


def test_several_inputs_and_outputs_are_cut_through() -> None:
    tf_keras.backend.clear_session()
    left, right = tf_keras.Input(IMAGE), tf_keras.Input((5,))
    x = conv("one")(left) + layers.Reshape((1, 1, 8))(layers.Dense(8, name="two")(right))
    model = tf_keras.Model([left, right], [end(x), layers.Conv2D(2, 1, name="map")(x)])
    graph = surgery_proof.lively(building.read(model))
    channels = trace(graph)
    assert groups_of(channels) == {("one", "two"): 8}
    proof = surgery_proof.prove(graph, channels, [1, 5, 6], sample(), sample((5,)))
    assert max(proof.consumers, proof.producers) <= 1e-5
    assert proof.effect > 1e-3


def test_a_part_that_a_slice_takes_never_becomes_empty() -> None:
    def body(x: Any) -> Any:
        x = conv("one")(x)
        return end(layers.Concatenate()([layers.Flatten()(x[..., :2]), layers.Flatten()(x)]))

    graph = graph_of(body)
    channels = trace(graph)
    assert [group.classes for group in channels.groups] == [(0, 1), (2, 3, 4, 5, 6, 7)]
    proof = surgery_proof.prove(graph, channels, [1, 4, 5], sample())
    assert max(proof.consumers, proof.producers) <= 1e-5
    with pytest.raises(StepError, match="all channels of one would be removed"):
        cut(graph, channels, [0, 1])


def test_the_layers_around_what_is_left_alone_are_cut_all_the_same() -> None:
    graph = graph_of(lambda x: end(conv("three")(layers.LayerNormalization()(conv("two")(conv("one")(x))))))
    channels = trace(graph)
    assert groups_of(channels) == {("one",): 8, ("three",): 8}
    proof = surgery_proof.prove(graph, channels, surgery_proof.some(channels), sample())
    assert max(proof.consumers, proof.producers) <= 1e-5


def test_a_graph_is_not_changed_by_cutting_it() -> None:
    graph = graph_of(_squeeze_and_excite)
    before = graph.identity()
    channels = trace(graph)
    removed = surgery_proof.some(channels)
    assert cut(graph, channels, removed).identity() != before
    assert silence(graph, channels, removed).identity() != before
    assert graph.identity() == before


def test_a_cut_network_can_be_traced_and_cut_again() -> None:
    graph = graph_of(_sum_of_joined)
    channels = trace(graph)
    smaller = cut(graph, channels, [0, 5])
    again = trace(smaller)
    assert groups_of(again) == {("one", "three"): 3, ("three", "two"): 5}
    proof = surgery_proof.prove(smaller, again, surgery_proof.some(again), sample())
    assert max(proof.consumers, proof.producers) <= 1e-5
    built = building.build(proof.smaller)
    assert building.read(built).tensors[0] == graph.tensors[0]
