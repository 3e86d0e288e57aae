"""For each rule of surgery, equalization and simplification a small branch of a network that it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_keras import layers

Body = Callable[[Any], Any]  # from what a layer with channels made to what the layer behind takes

_CHANNELS = 8
_SHAPES = {1: (16,), 2: (4, 4), 3: (4, 2, 2)}


def start(x: Any, name: str, rank: int) -> Any:
    """Eight positive channels over `rank` axes, made of an image of 4 x 4."""
    x = layers.Conv2D(_CHANNELS, 1, activation="softplus", name=f"{name}_start")(x)
    return x if rank == 2 else layers.Reshape((*_SHAPES[rank], _CHANNELS))(x)


def _ranked(kinds: list[str], *args: Any, ranks: tuple[int, ...] = (1, 2, 3), **options: Any) -> dict[str, Any]:
    return {
        kind.format(rank): (rank, getattr(layers, kind.format(rank))(*args, **options))
        for kind in kinds
        for rank in ranks
    }


def _both(kind: str) -> Body:
    return lambda x: getattr(layers, kind)()([x, layers.Dense(_CHANNELS)(x)])


def layer_bodies() -> dict[str, tuple[int, Body]]:
    """By the class of a layer: how many axes lie between batch and channels, and what is called with the tensor."""
    return {
        **_ranked(["Conv{}D", "Conv{}DTranspose"], 5, 2),
        **_ranked(["DepthwiseConv{}D"], 2, ranks=(1, 2)),
        **_ranked(["SeparableConv{}D"], 5, 2, ranks=(1, 2)),
        **_ranked(["AveragePooling{}D", "MaxPooling{}D", "UpSampling{}D"], 2),
        **_ranked(["Cropping{}D"], ((0, 1)), ranks=(1,)),
        **_ranked(["Cropping{}D"], ((0, 1), (1, 0)), ranks=(2,)),
        **_ranked(["Cropping{}D"], ((0, 1), (1, 0), (0, 0)), ranks=(3,)),
        **_ranked(["ZeroPadding{}D"], 1),
        **_ranked(["SpatialDropout{}D"], 0.5),
        **_ranked(["GlobalAveragePooling{}D", "GlobalMaxPooling{}D"]),
        **{
            kind: (2, _both(kind))
            for kind in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
        },
        "Activation": (2, layers.Activation("tanh")),
        "ActivityRegularization": (2, layers.ActivityRegularization()),
        "AlphaDropout": (2, layers.AlphaDropout(0.5)),
        "BatchNormalization": (2, layers.BatchNormalization()),
        "Bidirectional": (1, layers.Bidirectional(layers.LSTM(3))),
        "CenterCrop": (2, layers.CenterCrop(2, 2)),
        "Dense": (2, layers.Dense(5)),
        "Dropout": (2, layers.Dropout(0.5, noise_shape=(None, 1, 1, _CHANNELS))),
        "ELU": (2, layers.ELU()),
        "Embedding": (2, lambda x: layers.Embedding(9, 5)(tf.cast(x, tf.int32))),
        "Flatten": (2, layers.Flatten()),
        "GRU": (1, layers.GRU(3)),
        "GaussianDropout": (2, layers.GaussianDropout(0.5)),
        "GaussianNoise": (2, layers.GaussianNoise(0.5)),
        "GroupNormalization": (2, layers.GroupNormalization(2)),
        "Identity": (2, layers.Identity()),
        "LSTM": (1, layers.LSTM(3)),
        "LayerNormalization": (2, layers.LayerNormalization()),
        "LeakyReLU": (2, layers.LeakyReLU()),
        "Masking": (1, layers.Masking(9.0)),
        "Normalization": (2, layers.Normalization(mean=1.0, variance=2.0)),
        "PReLU": (2, layers.PReLU(shared_axes=[1, 2])),
        "Permute": (2, layers.Permute((2, 3, 1))),
        "ReLU": (2, layers.ReLU(6.0)),
        "RepeatVector": (1, lambda x: layers.RepeatVector(3)(layers.GlobalMaxPooling1D()(x))),
        "Rescaling": (2, layers.Rescaling(0.5)),
        "Reshape": (2, layers.Reshape((16, _CHANNELS))),
        "Resizing": (2, layers.Resizing(2, 2)),
        "SimpleRNN": (1, layers.SimpleRNN(3)),
        "Softmax": (2, layers.Softmax()),
        "SyncBatchNormalization": (2, layers.experimental.SyncBatchNormalization()),
        "ThresholdedReLU": (2, layers.ThresholdedReLU(0.1)),
        "TimeDistributed": (2, layers.TimeDistributed(layers.Conv1D(5, 2))),
        "UnitNormalization": (2, layers.UnitNormalization()),
    }


# Classes that no file can be loaded with: ConvNeXt's scaling becomes a convolution, the others are not public.
UNLOADABLE = frozenset({"CustomScaleLayer", "LayerScale"})
# The classes that stand for functions, which have examples of their own.
FUNCTION_LAYERS = frozenset({"SlicingOpLambda", "TFOpLambda"})


def _getitem(x: Any) -> Any:
    return tf.concat([x[:, -1, 1:, 2:], x[:, 0, 1:, 0:6], x[:, tf.newaxis, 1, 1:, ::2][:, 0]], 2)


_FUNCTIONS: dict[str, Body] = {
    "__operators__.add": lambda x: tf.__operators__.add(x, x),
    "__operators__.getitem": _getitem,
    "cast": lambda x: tf.cast(tf.cast(x, tf.float16), tf.float32),
    "clip_by_value": lambda x: tf.clip_by_value(x, 0.0, 6.0),
    "compat.v1.pad": lambda x: tf.compat.v1.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], "CONSTANT"),
    "compat.v1.squeeze": lambda x: tf.compat.v1.squeeze(tf.expand_dims(x, 1), 1),
    "compat.v1.transpose": lambda x: tf.compat.v1.transpose(x, [0, 2, 1, 3]),
    "concat": lambda x: tf.concat([x, x * 2.0], -1),
    "expand_dims": lambda x: tf.expand_dims(x, 1),
    "image.resize": lambda x: tf.image.resize(x, (2, 2)),
    "image.resize_with_crop_or_pad": lambda x: tf.image.resize_with_crop_or_pad(x, 3, 5),
    "image.resize_with_pad": lambda x: tf.image.resize_with_pad(x, 3, 5),
    "math.add_n": lambda x: tf.math.add_n([x, x * 2.0]),
    "math.divide": lambda x: tf.math.divide(x, x + 1.0),
    "math.truediv": lambda x: tf.math.truediv(x, x + 1.0),
    "nn.avg_pool2d": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
    "nn.leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.3),
    "nn.max_pool2d": lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], "CONSTANT", 0),
    "reshape": lambda x: tf.reshape(x, (-1, 16, _CHANNELS)),
    "split": lambda x: tf.concat(tf.split(x, [2, 6], -1)[::-1], -1),
    "squeeze": lambda x: tf.squeeze(tf.expand_dims(x, 1), [1]),
    "transpose": lambda x: tf.transpose(x, [0, 2, 1, 3]),
    "nn.softmax": lambda x: tf.nn.softmax(x, -1),
}


def function(name: str) -> Body:
    """A branch in which a function of TensorFlow is called, its arguments by position."""
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    called = tf
    for word in name.split("."):
        called = getattr(called, word)
    if name.startswith("math.reduce_"):
        return lambda x: called(x, [1, 2], True)
    parameters = [p for p in inspect.signature(called).parameters.values() if p.default is p.empty and p.name != "name"]
    return lambda x: called(*[x if place == 0 else x + 1.0 for place in range(len(parameters))])
