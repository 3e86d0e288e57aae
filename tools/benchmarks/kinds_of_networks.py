"""Small networks of the kinds that people bring, each with data: 60 and more, made from nothing and seeded.

    ./tools/run python tools/benchmarks/kinds_of_networks.py NAME OUT

writes OUT/NAME.keras (.h5 for networks of tf_keras) and OUT/NAME.npz. `KINDS` has all by name. Few are trained: a kind
is right or wrong whatever its weights are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tf_keras
from keras import layers as k3
from keras import ops
from tf_keras import layers as k2

SAMPLES, KEPT = 240, 80
STEPS, SIDE, CLASSES = 12, 16, 4

Made = tuple[Any, dict[str, np.ndarray]]
KINDS: dict[str, Callable[[], Made]] = {}


def _kind(make: Callable[[], Made]) -> Callable[[], Made]:
    KINDS[make.__name__.strip("_")] = make
    return make


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _classes() -> np.ndarray:
    return _rng().integers(0, CLASSES, SAMPLES)


def _images(side: int = SIDE, channels: int = 3) -> np.ndarray:
    """Noise around a bright patch, whose corner is the class."""
    x = _rng().normal(0, 0.3, (SAMPLES, side, side, channels)).astype("f4")
    half = side // 2
    for row, label in enumerate(_classes()):
        top, left = divmod(int(label), 2)
        x[row, top * half : top * half + half, left * half : left * half + half] += 1
    return x


def _sequences(steps: int = STEPS) -> np.ndarray:
    """Noisy sines whose frequency is the class."""
    rng, t = _rng(), np.arange(steps)
    x = np.sin(0.4 * (_classes()[:, None, None] + 1) * t[None, :, None] + rng.uniform(0, 6.28, (SAMPLES, 1, 3)))
    return (x + rng.normal(0, 0.2, x.shape)).astype("f4")


def _data(y: np.ndarray | None = None, **x: np.ndarray) -> dict[str, np.ndarray]:
    """Splits of the arrays by input; a single one is called x."""
    found = {}
    for name, array in x.items():
        tail = "" if name == "x" else f"/{name}"
        found |= {f"x_train{tail}": array[:-KEPT], f"x_eval{tail}": array[-KEPT:]}
    return found if y is None else {**found, "y_train": y[:-KEPT], "y_eval": y[-KEPT:]}


def _trained(model: Any, data: dict[str, np.ndarray], loss: str = "sparse_categorical_crossentropy") -> Made:
    model.compile("adam", loss)
    model.fit(data["x_train"], data["y_train"], epochs=3, verbose=0)
    return model, data


# Recurrent networks of both Keras: each is a kind of its own name.
def _recurrent(kit: Any, layer: Callable[[Any], Any]) -> Callable[[], Made]:
    def make() -> Made:
        layers = kit.layers
        model = kit.Sequential(
            [layers.Input((STEPS, 3)), layer(layers), layers.Dense(CLASSES, activation="softmax", name="kinds")]
        )
        return _trained(model, _data(_classes(), x=_sequences()))

    return make


_RECURRENT: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda kit: kit.LSTM(8),
    "gru": lambda kit: kit.GRU(8),
    "simple_rnn": lambda kit: kit.SimpleRNN(8),
    "bidirectional_lstm": lambda kit: kit.Bidirectional(kit.LSTM(6)),
    "bidirectional_gru": lambda kit: kit.Bidirectional(kit.GRU(6)),
    "backwards_lstm": lambda kit: kit.LSTM(8, go_backwards=True),
    "dropout_gru": lambda kit: kit.GRU(8, recurrent_dropout=0.2),
    "cells": lambda kit: kit.RNN(kit.StackedRNNCells([kit.GRUCell(6), kit.LSTMCell(6)])),
}
for _name, _layer in _RECURRENT.items():
    KINDS[_name] = _recurrent(keras, _layer)
    KINDS[f"{_name}_h5"] = _recurrent(tf_keras, _layer)


@_kind
def _stacked_lstm() -> Made:
    layers = [k3.Input((STEPS, 3)), k3.LSTM(8, return_sequences=True), k3.LSTM(8), k3.Dense(CLASSES)]
    return keras.Sequential([*layers, k3.Softmax()]), _data(_classes(), x=_sequences())


@_kind
def _encoder_decoder() -> Made:
    x = k3.Input((STEPS, 3))
    _, h, c = k3.LSTM(6, return_state=True)(x)
    y = k3.LSTM(6, return_sequences=True)(x, initial_state=[h, c])
    return keras.Model(x, k3.Dense(2)(y)), _data(x=_sequences())


@_kind
def _masked_text() -> Made:
    ids = _rng().integers(1, 40, (SAMPLES, STEPS)).astype("i4")
    ids[:, 8:] = 0
    x = k3.Input((STEPS,), dtype="int32")
    h = k3.GRU(8)(k3.Embedding(40, 6, mask_zero=True)(x))
    return keras.Model(x, k3.Dense(CLASSES, activation="softmax")(h)), _data(_classes(), x=ids)


@_kind
def _stateful_lstm() -> Made:
    x = k3.Input(batch_shape=(1, STEPS, 3))
    return keras.Model(x, k3.Dense(2)(k3.LSTM(6, stateful=True)(x))), _data(x=_sequences())


@_kind
def _conv_lstm() -> Made:
    x = k3.Input((4, 8, 8, 1))
    h = k3.Flatten()(k3.ConvLSTM2D(4, 3)(x))
    frames = _rng().normal(size=(SAMPLES, 4, 8, 8, 1)).astype("f4")
    return keras.Model(x, k3.Dense(2, activation="softmax")(h)), _data(_classes() % 2, x=frames)


# Networks for images.
def _application(kit: Any, name: str, **options: Any) -> Callable[[], Made]:
    def make() -> Made:
        build = getattr(kit.applications, name)
        model = build(weights=None, input_shape=(32, 32, 3), classes=CLASSES, **options)
        return model, _data(_classes(), x=_images(32))

    return make


_APPLICATIONS: dict[str, dict[str, Any]] = {
    "MobileNet": {"alpha": 0.25},
    "MobileNetV2": {"alpha": 0.35},
    "MobileNetV3Small": {"alpha": 0.75, "include_preprocessing": True},
    "EfficientNetB0": {},
    "EfficientNetV2B0": {},
    "DenseNet121": {},
    "ResNet50V2": {},
    "ConvNeXtTiny": {},
}
for _name, _options in _APPLICATIONS.items():
    KINDS[_name.lower()] = _application(keras, _name, **_options)
for _name in ("MobileNet", "MobileNetV2", "EfficientNetB0"):
    KINDS[f"{_name.lower()}_h5"] = _application(tf_keras, _name, **_APPLICATIONS[_name])


def _convolutional(activation: Any = "relu", **first: Any) -> Any:
    return [
        k3.Input((SIDE, SIDE, 3), **first),
        k3.Conv2D(8, 3, activation=activation),
        k3.MaxPooling2D(),
        k3.Conv2D(8, 3, activation=activation),
        k3.Flatten(),
    ]


def _head(layers: list[Any]) -> Any:
    return keras.Sequential([*layers, k3.Dense(CLASSES, activation="softmax", name="kinds")])


for _activation in ("elu", "gelu", "silu", "hard_silu", "leaky_relu", "mish", "selu"):
    KINDS[f"activation_{_activation}"] = lambda name=_activation: _trained(
        _head(_convolutional(name)), _data(_classes(), x=_images())
    )


@_kind
def _unet() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    down = k3.Conv2D(8, 3, padding="same", activation="relu")(x)
    deep = k3.Conv2D(16, 3, padding="same", activation="relu")(k3.MaxPooling2D()(down))
    up = k3.Conv2DTranspose(8, 2, strides=2)(deep)
    joined = k3.Conv2D(8, 3, padding="same", activation="relu")(k3.Concatenate()([up, down]))
    images = _images()
    masks = (images.mean(axis=-1, keepdims=True) > 0.5).astype("u1")
    return _trained(
        keras.Model(x, k3.Conv2D(1, 1, activation="sigmoid")(joined)), _data(masks, x=images), "binary_crossentropy"
    )


@_kind
def _segmentation_classes() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(8, 3, padding="same", activation="relu")(k3.UpSampling2D()(k3.AveragePooling2D()(x)))
    images = _images()
    labels = np.digitize(images.mean(axis=-1), [0, 0.5, 1]).astype("i4")
    return _trained(keras.Model(x, k3.Conv2D(CLASSES, 1, activation="softmax")(h)), _data(labels, x=images))


@_kind
def _detector() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    g = k3.Conv2D(16, 3, strides=2, padding="same", activation="relu")(h)
    boxes = [k3.Reshape((-1, 4))(k3.Conv2D(8, 3, padding="same")(each)) for each in (h, g)]
    scores = [k3.Reshape((-1, 3))(k3.Conv2D(6, 3, padding="same")(each)) for each in (h, g)]
    ends = [k3.Concatenate(axis=1, name="boxes")(boxes), k3.Softmax(name="scores")(k3.Concatenate(axis=1)(scores))]
    return keras.Model(x, ends), _data(x=_images())


@_kind
def _siamese() -> Made:
    inner = keras.Sequential(
        [k3.Input((SIDE, SIDE, 3)), k3.Conv2D(8, 3, activation="relu"), k3.GlobalAveragePooling2D()]
    )
    left, right = k3.Input((SIDE, SIDE, 3), name="left"), k3.Input((SIDE, SIDE, 3), name="right")
    apart = k3.Dense(1, activation="sigmoid")(k3.Subtract()([inner(left), inner(right)]))
    images = _images()
    same = (_classes() == np.roll(_classes(), 1)).astype("i4")
    return keras.Model([left, right], apart), _data(same, left=images, right=np.roll(images, 1, axis=0))


@_kind
def _squeeze_excite() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(8, 3, activation="relu")(x)
    gate = k3.Dense(8, activation="sigmoid")(k3.Dense(4, activation="relu")(k3.GlobalAveragePooling2D()(h)))
    h = k3.Multiply()([h, k3.Reshape((1, 1, 8))(gate)])
    return keras.Model(x, k3.Dense(CLASSES, activation="softmax")(k3.Flatten()(h))), _data(_classes(), x=_images())


@_kind
def _separable() -> Made:
    layers = [k3.Input((SIDE, SIDE, 3)), k3.SeparableConv2D(8, 3, activation="relu6"), k3.BatchNormalization()]
    model = _head([*layers, k3.DepthwiseConv2D(3), k3.ReLU(6.0), k3.GlobalAveragePooling2D()])
    return _trained(model, _data(_classes(), x=_images()))


@_kind
def _uint8_pixels() -> Made:
    x = np.clip(128 + 60 * _images(), 0, 255).astype("u1")
    layers = [k3.Input((SIDE, SIDE, 3), dtype="uint8"), k3.Rescaling(1 / 127.5, -1)]
    return _trained(_head([*layers, k3.Conv2D(8, 3, activation="relu"), k3.Flatten()]), _data(_classes(), x=x))


@_kind
def _augmented_and_normalized() -> Made:
    images = _images()
    normal = k3.Normalization()
    normal.adapt(images)
    layers = [k3.Input((SIDE, SIDE, 3)), k3.RandomFlip(), k3.RandomRotation(0.1), normal, k3.Resizing(12, 12)]
    return _trained(_head([*layers, k3.Conv2D(8, 3, activation="relu"), k3.Flatten()]), _data(_classes(), x=images))


@_kind
def _mixed_precision() -> Made:
    keras.config.set_dtype_policy("mixed_float16")
    model = _head([*_convolutional()[:-1], k3.Flatten(dtype="float32")])
    keras.config.set_dtype_policy("float32")
    return model, _data(_classes(), x=_images())


@_kind
def _frames() -> Made:
    inner = keras.Sequential([k3.Input((8, 8, 1)), k3.Conv2D(6, 3, activation="relu"), k3.Flatten()])
    layers = [k3.Input((5, 8, 8, 1)), k3.TimeDistributed(inner), k3.GlobalAveragePooling1D()]
    x = _rng().normal(size=(SAMPLES, 5, 8, 8, 1)).astype("f4")
    return _head(layers), _data(_classes(), x=x)


@_kind
def _channel_slices() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(6, 1)(k3.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(x, [h[..., 0:2], h[..., 2:6]]), _data(x=_images())


# Sequences without recurrence, text and tables.
def _attention(x: Any) -> Any:
    h = k3.Dense(16, name="embed")(x)
    for block in range(2):
        h = k3.LayerNormalization()(h + k3.MultiHeadAttention(2, 8, name=f"attention{block}")(h, h))
        h = k3.LayerNormalization()(h + k3.Dense(16)(k3.Dense(32, activation="gelu")(h)))
    return h


@_kind
def _transformer() -> Made:
    x = k3.Input((STEPS, 3))
    y = k3.Dense(CLASSES, activation="softmax")(k3.GlobalAveragePooling1D()(_attention(x)))
    return _trained(keras.Model(x, y), _data(_classes(), x=_sequences()))


@_kind
def _vision_transformer() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    patches = k3.Reshape((16, -1))(k3.Conv2D(16, 4, strides=4)(x))
    y = k3.Dense(CLASSES, activation="softmax")(k3.GlobalAveragePooling1D()(_attention(patches)))
    return keras.Model(x, y), _data(_classes(), x=_images())


@_kind
def _temporal_convolution() -> Made:
    x = k3.Input((STEPS, 3))
    h = x
    for rate in (1, 2, 4):
        h = k3.Conv1D(8, 3, padding="causal", dilation_rate=rate, activation="relu")(h)
    return _trained(
        keras.Model(x, k3.Dense(CLASSES, activation="softmax")(h[:, -1, :])), _data(_classes(), x=_sequences())
    )


@_kind
def _open_text() -> Made:
    rng = _rng()
    ids, attended = (k3.Input((None,), dtype="int32", name=name) for name in ("input_ids", "attention_mask"))
    mask = ops.expand_dims(ops.cast(attended, "float32"), -1)
    h = k3.Dense(16, activation="relu")(k3.Embedding(60, 16)(ids) * mask)
    y = k3.Dense(2, activation="softmax")(ops.sum(h * mask, axis=1) / ops.sum(mask, axis=1))
    x = {"input_ids": rng.integers(1, 60, (SAMPLES, STEPS)).astype("i4")}
    x["attention_mask"] = (np.arange(STEPS) < rng.integers(4, STEPS + 1, (SAMPLES, 1))).astype("i4")
    return keras.Model([ids, attended], y), _data(_classes() % 2, **x)


def _coded(encode: Callable[[Any], Any], dtype: str, codes: np.ndarray) -> Made:
    code, values = k3.Input((1,), dtype=dtype, name="code"), k3.Input((3,), name="values")
    h = k3.Dense(8, activation="relu")(k3.Concatenate()([encode(code), values]))
    x = {"code": codes.astype(dtype), "values": _rng().normal(size=(SAMPLES, 3)).astype("f4")}
    return keras.Model([code, values], k3.Dense(1, activation="sigmoid")(h)), _data(_classes() % 2, **x)


_CODES = _rng().integers(0, 5, (SAMPLES, 1))
KINDS["one_hot_codes"] = lambda: _coded(k3.CategoryEncoding(5, output_mode="one_hot"), "int32", _CODES)
KINDS["embedded_codes"] = lambda: _coded(lambda x: k3.Flatten()(k3.Embedding(5, 4)(x)), "int32", _CODES)
KINDS["looked_up_codes"] = lambda: _coded(
    k3.IntegerLookup(vocabulary=[7, 11, 19, 23, 29], output_mode="one_hot"),
    "int64",
    np.array([7, 11, 19, 23, 29])[_CODES],
)


@_kind
def _many_ends() -> Made:
    now, before = k3.Input((8,), name="now"), k3.Input((8,), name="before")
    h = k3.Dense(8, activation="relu")(k3.Concatenate()([now, before]))
    ends = [k3.Dense(3, name="yaw")(h), k3.Dense(3, activation="softmax", name="kind")(h)]
    x = _rng().normal(size=(SAMPLES, 8)).astype("f4")
    return keras.Model([now, before], [*ends, k3.Dense(3, activation="tanh", name="pitch")(h)]), _data(
        now=x, before=3 * x[::-1]
    )


@_kind
def _table_regression() -> Made:
    x = _rng().normal(size=(SAMPLES, 8)).astype("f4")
    model = keras.Sequential([k3.Input((8,)), k3.Dense(16, activation="relu"), k3.Dense(1)])
    return _trained(model, _data((x[:, :1] * x[:, 1:2]).astype("f4"), x=x), "mse")


@_kind
def _table_of_far_columns() -> Made:
    scales = np.array([1, 10, 100, 3000, 1, 1, 0.01, 5], "f4")
    x = _rng().normal(size=(SAMPLES, 8)).astype("f4") * scales
    normal = k3.Normalization()
    normal.adapt(x)
    model = keras.Sequential([k3.Input((8,)), normal, k3.Dense(16, activation="relu"), k3.Dense(1)])
    return _trained(model, _data((x / scales)[:, :1], x=x), "mse")


@_kind
def _multi_label() -> Made:
    t = _classes()
    y = np.stack([t % 2, t > 1, t == 3], axis=1).astype("i8")
    model = keras.Sequential([*_convolutional(), k3.Dense(3, activation="sigmoid")])
    return _trained(model, _data(y, x=_images()), "binary_crossentropy")


@_kind
def _autoencoder() -> Made:
    x = _images(8, 1).reshape(SAMPLES, 64)
    model = keras.Sequential([k3.Input((64,)), k3.Dense(12, activation="relu"), k3.Dense(64)])
    return _trained(model, _data(x, x=x), "mse")


@_kind
def _dense_h5() -> Made:
    x = _rng().normal(size=(SAMPLES, 8)).astype("f4")
    model = tf_keras.Sequential([k2.Input((8,)), k2.Dense(16), k2.BatchNormalization(), k2.ReLU(), k2.Dense(CLASSES)])
    return model, _data(_classes(), x=x)


def main(name: str, out: Path) -> None:
    """Make one and write it."""
    for kit in (keras, tf_keras):
        kit.utils.set_random_seed(0)
    model, data = KINDS[name]()
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / f"{name}.{'h5' if isinstance(model, tf_keras.Model) else 'keras'}")
    np.savez(out / f"{name}.npz", **data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
