"""Keras 3 networks carried over to tf_keras: every layer, operation and activation, and whole applications."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import shallow
import tf_keras
from keras import layers as k3, ops
from keras_networks import IMAGE, ROWS, VOLUME, Make, kinds, network, require_same

# For each class of keras.layers that tf_keras has too: the shape of an input, and what to do with it.
LAYERS: dict[str, tuple[tuple[int, ...], Make]] = {
    "Activation": (ROWS, k3.Activation("softplus")),
    "ActivityRegularization": (ROWS, k3.ActivityRegularization(0.1)),
    "Add": (ROWS, lambda t: k3.Add()([t, k3.Dense(6)(t)])),
    "AdditiveAttention": (ROWS, lambda t: k3.AdditiveAttention(dropout=0.1)([t, t])),
    "AlphaDropout": (ROWS, k3.AlphaDropout(0.2, seed=1)),
    "Attention": (ROWS, lambda t: k3.Attention(use_scale=True, score_mode="concat")([t, t])),
    "Average": (ROWS, lambda t: k3.Average()([t, k3.Dense(6)(t)])),
    "AveragePooling1D": (ROWS, k3.AveragePooling1D(3, 2, padding="same")),
    "AveragePooling2D": (IMAGE, k3.AveragePooling2D(3, 2, padding="same")),
    "AveragePooling3D": (VOLUME, k3.AveragePooling3D(2)),
    "BatchNormalization": (IMAGE, k3.BatchNormalization(epsilon=0.01, synchronized=True)),
    "Bidirectional": (ROWS, k3.Bidirectional(k3.LSTM(3, return_sequences=True), merge_mode="sum")),
    "CategoryEncoding": ((5,), k3.CategoryEncoding(9)),
    "CenterCrop": (IMAGE, k3.CenterCrop(4, 5)),
    "Concatenate": (ROWS, lambda t: k3.Concatenate(axis=1)([t, k3.Dense(6)(t)])),
    "Conv1D": (ROWS, k3.Conv1D(4, 3, padding="causal", kernel_regularizer=keras.regularizers.L2(0.1))),
    "Conv1DTranspose": (ROWS, k3.Conv1DTranspose(4, 3, strides=2)),
    "Conv2D": (IMAGE, k3.Conv2D(6, 3, groups=3, dilation_rate=2, activation="relu")),
    "Conv2DTranspose": (IMAGE, k3.Conv2DTranspose(4, 3, 2, padding="same", output_padding=1)),
    "Conv3D": (VOLUME, k3.Conv3D(2, 3, kernel_constraint="max_norm")),
    "Conv3DTranspose": (VOLUME, k3.Conv3DTranspose(2, 3)),
    "ConvLSTM1D": (IMAGE, k3.ConvLSTM1D(3, 3, return_sequences=True)),
    "ConvLSTM2D": (VOLUME, k3.ConvLSTM2D(2, 3)),
    "ConvLSTM3D": ((2, 4, 4, 4, 1), k3.ConvLSTM3D(2, 3)),
    "Cropping1D": (ROWS, k3.Cropping1D((1, 2))),
    "Cropping2D": (IMAGE, k3.Cropping2D(((1, 2), (0, 1)))),
    "Cropping3D": (VOLUME, k3.Cropping3D(1)),
    "Dense": (ROWS, k3.Dense(4, "tanh", kernel_initializer="orthogonal")),
    "DepthwiseConv1D": (ROWS, k3.DepthwiseConv1D(3, depth_multiplier=2)),
    "DepthwiseConv2D": (IMAGE, k3.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2)),
    "Discretization": (ROWS, k3.Discretization([-1.0, 0.0, 1.0])),
    "Dot": (ROWS, lambda t: k3.Dot(axes=2, normalize=True)([t, t])),
    "Dropout": (ROWS, k3.Dropout(0.5, seed=3)),
    "ELU": (ROWS, k3.ELU(0.7)),
    "EinsumDense": (ROWS, k3.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")),
    "Embedding": ((5,), lambda t: k3.LSTM(4)(k3.Embedding(10, 4, mask_zero=True)(t))),
    "Flatten": (IMAGE, k3.Flatten()),
    "GRU": (ROWS, k3.GRU(4, reset_after=False, go_backwards=True)),
    "GRUCell": (ROWS, k3.RNN(k3.GRUCell(3))),
    "GaussianDropout": (ROWS, k3.GaussianDropout(0.2)),
    "GaussianNoise": (ROWS, k3.GaussianNoise(0.2)),
    "GlobalAveragePooling1D": (ROWS, k3.GlobalAveragePooling1D(keepdims=True)),
    "GlobalAveragePooling2D": (IMAGE, k3.GlobalAveragePooling2D(keepdims=True)),
    "GlobalAveragePooling3D": (VOLUME, k3.GlobalAveragePooling3D()),
    "GlobalMaxPooling1D": (ROWS, k3.GlobalMaxPooling1D()),
    "GlobalMaxPooling2D": (IMAGE, k3.GlobalMaxPooling2D()),
    "GlobalMaxPooling3D": (VOLUME, k3.GlobalMaxPooling3D()),
    "GroupNormalization": (IMAGE, k3.GroupNormalization(3)),
    "Identity": (ROWS, k3.Identity()),
    "LSTM": (ROWS, k3.LSTM(4, return_sequences=True, dropout=0.1)),
    "LSTMCell": (ROWS, k3.RNN(k3.LSTMCell(3), return_sequences=True)),
    "Lambda": (ROWS, k3.Lambda(lambda x: ops.relu(x) * 2)),
    "LayerNormalization": (ROWS, k3.LayerNormalization(axis=[1, 2], epsilon=0.1)),
    "LeakyReLU": (ROWS, k3.LeakyReLU(0.17)),
    "Masking": (ROWS, lambda t: k3.LSTM(3)(k3.Masking()(ops.relu(t - 1)))),
    "MaxPooling1D": (ROWS, k3.MaxPooling1D(2)),
    "MaxPooling2D": (IMAGE, k3.MaxPooling2D(3, 2, padding="same")),
    "MaxPooling3D": (VOLUME, k3.MaxPooling3D(2)),
    "Maximum": (ROWS, lambda t: k3.Maximum()([t, k3.Dense(6)(t)])),
    "Minimum": (ROWS, lambda t: k3.Minimum()([t, k3.Dense(6)(t)])),
    "MultiHeadAttention": (ROWS, lambda t: k3.MultiHeadAttention(2, 3)(t, k3.Dense(5)(t), use_causal_mask=True)),
    "Multiply": (ROWS, lambda t: k3.Multiply()([t, k3.Dense(6)(t)])),
    "Normalization": (ROWS, k3.Normalization(mean=np.arange(6.0), variance=np.arange(6.0) + 1)),
    "PReLU": (IMAGE, k3.PReLU(shared_axes=[1, 2])),
    "Permute": (IMAGE, k3.Permute((3, 1, 2))),
    "RNN": (ROWS, k3.RNN([k3.GRUCell(3), k3.SimpleRNNCell(2)])),
    "RandomBrightness": (IMAGE, k3.RandomBrightness(0.1)),
    "RandomContrast": (IMAGE, k3.RandomContrast(0.1)),
    "RandomFlip": (IMAGE, k3.RandomFlip()),
    "RandomRotation": (IMAGE, k3.RandomRotation(0.1)),
    "RandomTranslation": (IMAGE, k3.RandomTranslation(0.1, 0.1)),
    "RandomZoom": (IMAGE, k3.RandomZoom(0.1)),
    "ReLU": (ROWS, k3.ReLU(6.0, negative_slope=0.1, threshold=0.2)),
    "RepeatVector": (ROWS, lambda t: k3.RepeatVector(3)(k3.Flatten()(t))),
    "Rescaling": (ROWS, k3.Rescaling(list(range(6)), offset=[1.0] * 6)),
    "Reshape": (IMAGE, k3.Reshape((-1, 12))),
    "Resizing": (IMAGE, k3.Resizing(5, 7, crop_to_aspect_ratio=True)),
    "SeparableConv1D": (ROWS, k3.SeparableConv1D(4, 3)),
    "SeparableConv2D": (IMAGE, k3.SeparableConv2D(5, 3, depth_multiplier=2, padding="same")),
    "SimpleRNN": (ROWS, lambda t: k3.SimpleRNN(4)(t, initial_state=k3.Dense(4)(k3.Flatten()(t)))),
    "SimpleRNNCell": (ROWS, k3.RNN(k3.SimpleRNNCell(3))),
    "Softmax": (IMAGE, k3.Softmax(axis=1)),
    "SpatialDropout1D": (ROWS, k3.SpatialDropout1D(0.3)),
    "SpatialDropout2D": (IMAGE, k3.SpatialDropout2D(0.3)),
    "SpatialDropout3D": (VOLUME, k3.SpatialDropout3D(0.3)),
    "StackedRNNCells": (ROWS, k3.RNN(k3.StackedRNNCells([k3.LSTMCell(3), k3.GRUCell(2)]))),
    "Subtract": (ROWS, lambda t: k3.Subtract()([t, k3.Dense(6)(t)])),
    "TimeDistributed": (IMAGE, k3.TimeDistributed(k3.Conv1D(3, 3, activation="relu"))),
    "UnitNormalization": (ROWS, k3.UnitNormalization(axis=1)),
    "UpSampling1D": (ROWS, k3.UpSampling1D(2)),
    "UpSampling2D": (IMAGE, k3.UpSampling2D((2, 3), interpolation="bilinear")),
    "UpSampling3D": (VOLUME, k3.UpSampling3D(2)),
    "ZeroPadding1D": (ROWS, k3.ZeroPadding1D((1, 2))),
    "ZeroPadding2D": (IMAGE, k3.ZeroPadding2D(((1, 2), (0, 1)))),
    "ZeroPadding3D": (VOLUME, k3.ZeroPadding3D(1)),
}
# Those that cannot be in a network for a device: text, lookup tables, no layer by itself; or that tf_keras cannot do.
LEFT_OUT = {
    "HashedCrossing",
    "Hashing",  # refused as it is loaded, as all lookups that TensorFlow Lite cannot compute
    "InputLayer",
    "InputSpec",
    "IntegerLookup",
    "Layer",
    "RandomCrop",  # in tf_keras it crops outside of training
    "SpectralNormalization",  # that of tf_keras 2.21 fails on its own input_spec
    "StringLookup",
    "TextVectorization",
    "Wrapper",
}


def classes_of(space: Any) -> set[str]:
    """The layer classes of a namespace, without second names such as Convolution2D."""
    found = {name: getattr(space, name) for name in dir(space)}
    return {name for name, kind in found.items() if isinstance(kind, type) and kind.__name__ == name}


def test_the_table_names_every_layer_that_both_have() -> None:
    assert classes_of(k3) & classes_of(tf_keras.layers) == set(LAYERS) | LEFT_OUT


# What loops over rows takes a second each; LSTM, GRU and SimpleRNN stand for them in quick runs.
SLOW = {"Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRUCell", "LSTMCell", "RNN", "SimpleRNNCell"}
SLOW |= {"StackedRNNCells", "Masking"}
ALL_LAYERS = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LAYERS]


@pytest.mark.parametrize("name", ALL_LAYERS)
def test_every_layer_computes_the_same_in_tf_keras(name: str) -> None:
    shape, make = LAYERS[name]
    require_same(network(shape, make, "int32" if name in {"CategoryEncoding", "Embedding"} else "float32"))


def test_settings_that_only_training_uses_come_along() -> None:
    def make(t: Any) -> Any:
        t = k3.Dense(4, name="dense", kernel_regularizer=keras.regularizers.L2(0.25), trainable=False)(t)
        return k3.BatchNormalization(momentum=0.6, name="norm")(k3.Dropout(0.4, name="drop", seed=7)(t))

    layers = require_same(network((6,), make)).layers
    assert layers["dense"].config["kernel_regularizer"]["config"]["l2"] == 0.25
    assert layers["dense"].config["trainable"] is False
    assert layers["drop"].config["rate"] == 0.4
    assert layers["norm"].config["momentum"] == 0.6


# keras.ops and operators, each with the classes of layers that it becomes (TFOpLambda: a TensorFlow function).
OPERATIONS: dict[str, tuple[Make, list[str]]] = {
    "abs": (abs, ["TFOpLambda"]),
    "add": (lambda t: t + 1.5, ["TFOpLambda"]),
    "add a tensor": (lambda t: t + t, ["Add"]),
    "add of another rank": (lambda t: t + t[0], ["SlicingOpLambda", "TFOpLambda"]),
    "argmax": (lambda t: ops.argmax(t, -1), ["TFOpLambda"]),
    "clip": (lambda t: ops.clip(t, -1, 1), ["TFOpLambda"]),
    "concatenate": (lambda t: ops.concatenate([t, t], -1), ["Concatenate"]),
    "divide": (lambda t: t / 3, ["TFOpLambda"]),
    "einsum": (lambda t: ops.einsum("bij,bkj->bik", t, t), ["TFOpLambda"]),
    "elu": (ops.elu, ["Activation"]),
    "expand_dims": (lambda t: ops.expand_dims(t, 1), ["Reshape"]),
    "gelu": (lambda t: ops.gelu(t, approximate=False), ["Activation"]),
    "gelu, approximately": (ops.gelu, ["TFOpLambda"]),
    "leaky_relu": (ops.leaky_relu, ["LeakyReLU"]),
    "max": (lambda t: ops.max(t, 1, keepdims=True), ["GlobalMaxPooling1D"]),
    "max of the last axis": (lambda t: ops.max(t, -1), ["TFOpLambda"]),
    "maximum": (lambda t: ops.maximum(t, 0.5), ["TFOpLambda"]),
    "mean": (lambda t: ops.mean(t, 1), ["GlobalAveragePooling1D"]),
    "min": (lambda t: ops.min(t, axis=(1, 2)), ["TFOpLambda"]),
    "moveaxis": (lambda t: ops.moveaxis(t, 1, 2), ["Permute"]),
    "multiply": (lambda t: t * ops.sigmoid(t), ["Activation", "Multiply"]),
    "multiply by numbers": (lambda t: t * np.arange(6, dtype="float32"), ["TFOpLambda"]),
    "one_hot": (lambda t: ops.one_hot(ops.argmax(t, -1), 6), ["TFOpLambda", "TFOpLambda"]),
    "pad": (lambda t: ops.pad(t, ((0, 0), (1, 2), (0, 0))), ["ZeroPadding1D"]),
    "pad the channels": (lambda t: ops.pad(t, ((0, 0), (0, 0), (1, 0))), ["TFOpLambda"]),
    "relu": (ops.relu, ["ReLU"]),
    "relu6": (ops.relu6, ["ReLU"]),
    "reshape": (lambda t: ops.reshape(t, (-1, 24, 2)), ["Reshape"]),
    "reshape of the batch": (lambda t: ops.reshape(t, (-1, 3)), ["TFOpLambda"]),
    "rsqrt": (lambda t: ops.rsqrt(ops.square(t) + 1), ["TFOpLambda"] * 3),
    "silu": (ops.silu, ["Activation"]),
    "slice": (lambda t: t[..., 1:5:2], ["SlicingOpLambda"]),
    "softmax": (lambda t: ops.softmax(t, axis=1), ["Softmax"]),
    "split": (lambda t: ops.split(t, 2, axis=1)[1], ["TFOpLambda"]),
    "squeeze": (lambda t: ops.squeeze(ops.mean(t, 1, keepdims=True), 1), ["GlobalAveragePooling1D", "Reshape"]),
    "stack": (lambda t: ops.stack([t, t], 1), ["TFOpLambda"]),
    "subtract": (lambda t: 2.0 - t, ["TFOpLambda"]),
    "swapaxes": (lambda t: ops.swapaxes(t, 1, 2), ["Permute"]),
    "take": (lambda t: ops.take(t, [0, -1], axis=1), ["TFOpLambda"]),
    "tanh": (ops.tanh, ["Activation"]),
    "transpose": (lambda t: ops.transpose(t, (0, 2, 1)), ["Permute"]),
    "where": (lambda t: ops.where(t > 0, t, 0.1 * t), ["TFOpLambda"] * 3),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_become_layers_where_there_is_one(name: str) -> None:
    make, expected = OPERATIONS[name]
    assert kinds(require_same(network(ROWS, make))) == expected


ACTIVATIONS = {name for name in dir(keras.activations) if callable(getattr(keras.activations, name))}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS - {"deserialize", "get", "serialize", "threshold"}))
def test_every_activation_computes_the_same(name: str) -> None:
    activation = keras.activations.get(name)
    graph = require_same(network(ROWS, lambda t: k3.Activation(activation)(k3.Dense(4, activation=activation)(t))))
    assert kinds(graph)[0] == "Dense"


SIDES = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}


# The same blocks fewer times take a fraction of the time; these are for by hand.
DEEP = ("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "NASNetMobile")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ConvNeXt", "DenseNet", "EfficientNet", "EfficientNetV2", "NASNet"])
def test_shallow_applications_compute_the_same(family: str) -> None:
    keras.utils.set_random_seed(0)
    _require_carried(shallow.model(keras, family, 32))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=getattr(pytest.mark, "exhaustive" if name in DEEP else "slow")) for name in SIDES]
)
def test_applications_compute_the_same(name: str) -> None:
    keras.utils.set_random_seed(0)
    shape = (SIDES[name], SIDES[name], 3)
    build = getattr(keras.applications, name)
    _require_carried(build(weights=None, input_shape=shape, classes=10, classifier_activation=None))


def _require_carried(model: keras.Model) -> None:
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("beta", "bias", "moving_mean")):
            variable.assign(rng.normal(0, 0.2, variable.shape))
    assert require_same(model).parameters == model.count_params()
