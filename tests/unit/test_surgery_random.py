"""Cuts of networks that nobody thought of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import surgery_proof
import tensorflow as tf
import tf_keras
from hypothesis import HealthCheck, Phase, given as for_all, settings, strategies as st
from tf_keras import layers

from edgebuild.passes.graph import building
from edgebuild.passes.surgery.tracing import trace

SIDE = 6
# Building networks is slow, shrinking a failure takes minutes.
UNHURRIED = settings(suppress_health_check=list(HealthCheck), phases=[Phase.generate])


class Images:
    """Grows a random network over images of one size: `pool` holds what later layers may take."""

    def __init__(self, draw: Any, shifts: bool) -> None:
        self.draw = draw
        self.functions = ["relu", "relu6", "tanh", "swish", "gelu", "elu", "linear"]
        if shifts:
            self.functions += ["sigmoid", "softplus", "hard_sigmoid"]
        self.shifts = shifts
        self.inputs = [tf_keras.Input((SIDE, SIDE, 3)) for _ in range(draw(st.integers(1, 2)))]
        self.pool = [self.conv(x) for x in self.inputs]

    def pick(self) -> Any:
        return self.draw(st.sampled_from(self.pool + self.pool[-2:]))

    def two(self) -> tuple[Any, Any]:
        """Two tensors of one shape."""
        one, other = self.pick(), self.pick()
        if one.shape[-1] != other.shape[-1]:
            other = layers.Conv2D(one.shape[-1], 1)(other)
        return one, other

    def conv(self, x: Any) -> Any:
        groups = 2 if x.shape[-1] % 2 == 0 and self.draw(st.booleans()) else 1
        filters = self.draw(st.sampled_from([4, 6, 8]))
        kernel = self.draw(st.sampled_from([1, 3]))
        activation = self.draw(st.sampled_from(self.functions))
        bias = self.draw(st.booleans())
        return layers.Conv2D(filters, kernel, padding="same", groups=groups, activation=activation, use_bias=bias)(x)

    def depthwise(self) -> Any:
        return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=self.draw(st.integers(1, 2)))(self.pick())

    def as_many_groups(self) -> Any:
        x = self.pick()
        return layers.Conv2D(x.shape[-1] * self.draw(st.integers(1, 2)), 3, padding="same", groups=x.shape[-1])(x)

    def separable(self) -> Any:
        times = self.draw(st.integers(1, 2))
        return layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=times)(self.pick())

    def transposed(self) -> Any:
        x = layers.Conv2DTranspose(4, 2, strides=2)(self.pick())
        return layers.AveragePooling2D(2)(x)

    def normalized(self) -> Any:
        scale, center = self.draw(st.booleans()), self.draw(st.booleans())
        return layers.BatchNormalization(scale=scale, center=center)(self.pick())

    def activated(self) -> Any:
        kind = self.draw(st.sampled_from(["layer", "prelu", "relu", "tf"]))
        if kind == "tf":
            x = tf.nn.relu6(self.pick() + 3.0) * (1 / 6) if self.shifts else tf.nn.leaky_relu(self.pick(), 0.1)
            return x * self.pick_like(x)
        if kind == "prelu":
            return layers.PReLU(shared_axes=self.draw(st.sampled_from([None, [1, 2]])))(self.pick())
        return layers.ReLU(6.0)(self.pick()) if kind == "relu" else layers.Activation("tanh")(self.pick())

    def pick_like(self, x: Any) -> Any:
        return self.draw(st.sampled_from([y for y in self.pool if y.shape == x.shape]))

    def resized(self) -> Any:
        x = self.pick()
        kind = self.draw(st.sampled_from(["pool", "pad", "up", "permute", "reshape", "dropout"]))
        if kind == "pool":
            return layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))
        if kind == "pad":
            return layers.Cropping2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(((0, 1), (1, 0)))(x))
        if kind == "up":
            return layers.AveragePooling2D(2, padding="same")(layers.UpSampling2D(2, interpolation="bilinear")(x))
        if kind == "permute":
            return layers.Permute((2, 1, 3))(x)
        if kind == "reshape":
            return layers.Reshape((SIDE, SIDE, x.shape[-1]))(layers.Reshape((-1, x.shape[-1]))(x))
        return layers.SpatialDropout2D(0.2)(x)

    def merged(self) -> Any:
        kinds = [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum]
        return self.draw(st.sampled_from(kinds))()(list(self.two()))

    def added(self) -> Any:
        one, other = self.two()
        return one + other

    def concatenated(self) -> Any:
        parts = [self.pick() for _ in range(self.draw(st.integers(2, 3)))]
        if self.draw(st.booleans()):
            parts.append(self.draw(st.sampled_from(self.inputs)))
        return layers.Concatenate()(parts)

    def sliced(self) -> Any:
        x = self.pick()
        half = int(x.shape[-1]) // 2
        if half < 2:
            return x
        if self.draw(st.booleans()):
            return x[..., :half] if self.draw(st.booleans()) else x[:, :, :, half:]
        left, right = tf.split(x, [half, x.shape[-1] - half], axis=-1)
        return tf.concat([right, left], -1)

    def squeezed_and_excited(self) -> Any:
        x = self.pick()
        y = layers.Reshape((1, 1, x.shape[-1]))(layers.GlobalAveragePooling2D()(x))
        y = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(y))
        return layers.Multiply()([x, y])

    def shared(self) -> Any:
        one, other = self.two()
        layer = layers.Conv2D(self.draw(st.sampled_from([4, 6])), 3, padding="same")
        if int(one.shape[-1]) == layer.filters:
            return layer(layer(one))
        merge = self.draw(st.sampled_from([layers.Add, layers.Concatenate]))
        return merge()([layer(one), layer(other)])

    def stuck(self) -> Any:
        kind = self.draw(st.sampled_from([layers.LayerNormalization, layers.Softmax, layers.UnitNormalization]))
        return kind()(self.pick())

    def dense(self) -> Any:
        return layers.Dense(6)(self.pick())

    def grow(self) -> None:
        steps = [
            lambda: self.conv(self.pick()),
            *(self.depthwise, self.as_many_groups, self.separable, self.transposed, self.normalized, self.activated),
            *(self.resized, self.merged, self.added, self.concatenated, self.sliced, self.squeezed_and_excited),
            *(self.shared, self.stuck, self.dense),
        ]
        x = self.draw(st.sampled_from(steps))()
        if x.shape[-1] <= 24:  # or some networks double their channels until they are slow
            self.pool.append(x)

    def output(self) -> Any:
        x = self.pool[-1] if self.draw(st.booleans()) else self.pick()
        kind = self.draw(st.sampled_from(["average", "flatten", "sequence", "repeat", "image", "max"]))
        if kind == "average":
            x = layers.GlobalAveragePooling2D(keepdims=True)(x)
            return layers.Dense(3)(layers.Flatten()(x))
        if kind == "flatten":
            return layers.Dense(3)(layers.BatchNormalization()(layers.Flatten()(x)))
        if kind == "sequence":
            x = layers.Reshape((SIDE * SIDE, x.shape[-1]))(x)
            return layers.Dense(3)(layers.GlobalMaxPooling1D()(layers.Conv1D(4, 3)(x)))
        if kind == "repeat":
            x = layers.RepeatVector(2)(layers.GlobalMaxPooling2D()(x))
            return layers.Dense(3)(layers.GRU(4)(x))
        if kind == "image":
            return layers.Conv2D(2, 1)(x)
        return layers.Dense(3)(tf.reduce_max(x, axis=[1, 2]))


def images(draw: Any, *, shifts: bool) -> tuple[tf_keras.Model, list[Any]]:
    """A network over one or two images, and samples for it."""
    tf_keras.backend.clear_session()
    growing = Images(draw, shifts)
    for _ in range(draw(st.integers(2, 8))):
        growing.grow()
    outputs = [growing.output() for _ in range(draw(st.integers(1, 2)))]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    samples = [rng.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32) for _ in growing.inputs]
    return tf_keras.Model(growing.inputs, outputs), samples


def _tokens(x: Any) -> Any:
    """Mixes along the other axis, whose channels are then shifted by the biases of all later layers."""
    return layers.Permute((2, 1))(layers.Dense(x.shape[1], use_bias=False)(layers.Permute((2, 1))(x)))


LAYERS = [
    lambda: layers.Conv1D(8, 3, padding="same", activation="relu"),
    lambda: layers.Conv1D(8, 3, padding="same", groups=2, activation="relu"),
    lambda: layers.SeparableConv1D(6, 3, padding="same", depth_multiplier=2),
    lambda: layers.DepthwiseConv1D(3, padding="same", activation="relu"),
    lambda: layers.Conv1DTranspose(6, 3, padding="same"),
    layers.BatchNormalization,
    lambda: layers.LSTM(6, return_sequences=True),
    lambda: layers.GRU(6, return_sequences=True),
    lambda: layers.GRU(6, return_sequences=True, reset_after=False),
    lambda: layers.SimpleRNN(4, return_sequences=True),
    lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
    lambda: layers.TimeDistributed(layers.Dense(6, activation="relu")),
    lambda: lambda x: x + layers.Dense(x.shape[-1], activation="relu")(x),
    lambda: lambda x: layers.Cropping1D((1, 1))(layers.ZeroPadding1D(1)(x)),
    lambda: lambda x: layers.AveragePooling1D(2)(layers.UpSampling1D(2)(x)),
]


def sequences(draw: Any, *, tokens: bool) -> tuple[tf_keras.Model, list[Any]]:
    """A network over words or signals, perhaps one that mixes its steps too."""
    tf_keras.backend.clear_session()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        given, sample = tf_keras.Input((8,), dtype="int32"), rng.integers(0, 20, (2, 8))
        x = layers.Embedding(20, draw(st.sampled_from([4, 6])))(given)
    else:
        given, sample = tf_keras.Input((8, 3)), rng.normal(size=(2, 8, 3)).astype(np.float32)
        x = layers.Conv1D(6, 3, padding="causal", activation="relu")(given)
    steps = [*LAYERS, lambda: _tokens, lambda: _tokens] if tokens else LAYERS
    for _ in range(draw(st.integers(1, 5))):
        x = draw(st.sampled_from(steps))()(x)
    ends = [layers.Flatten(), layers.GlobalAveragePooling1D(), layers.LSTM(4), layers.GlobalMaxPooling1D()]
    x = layers.Dense(3)(draw(st.sampled_from(ends))(x))
    return tf_keras.Model(given, x), [sample]


def _proved(network: tuple[tf_keras.Model, list[Any]], seed: int, *, producers: bool) -> None:
    model, samples = network
    graph = surgery_proof.lively(building.read(model), seed)
    channels = trace(graph)
    removed = surgery_proof.some(channels, seed)
    proof = surgery_proof.prove(graph, channels, removed, *samples)
    assert proof.consumers <= 1e-5
    if producers:
        assert proof.producers <= 1e-5
    assert (proof.smaller.parameters < graph.parameters) == bool(removed)


@settings(UNHURRIED, max_examples=5)
@for_all(st.data(), st.integers(0, 99))
def test_a_cut_equals_silence_at_the_consumers_and_at_the_producers(data: st.DataObject, seed: int) -> None:
    _proved(images(data.draw, shifts=False), seed, producers=True)


@settings(UNHURRIED, max_examples=5)
@for_all(st.data(), st.integers(0, 99))
def test_a_cut_equals_silence_where_functions_do_not_keep_zero(data: st.DataObject, seed: int) -> None:
    _proved(images(data.draw, shifts=True), seed, producers=False)


@settings(UNHURRIED, max_examples=5)
@for_all(st.data(), st.integers(0, 99), st.booleans())
def test_a_cut_of_a_network_over_sequences_equals_silence(data: st.DataObject, seed: int, tokens: bool) -> None:
    _proved(sequences(data.draw, tokens=tokens), seed, producers=not tokens)


@pytest.mark.slow
@settings(UNHURRIED, max_examples=15)
@for_all(st.data(), st.integers(0, 99), st.sampled_from(["images", "shifted images", "sequences", "mixed sequences"]))
def test_many_cuts_equal_silence(data: st.DataObject, seed: int, kind: str) -> None:
    if kind.endswith("sequences"):
        _proved(sequences(data.draw, tokens=kind != "sequences"), seed, producers=kind == "sequences")
    else:
        _proved(images(data.draw, shifts=kind != "images"), seed, producers=kind == "images")
