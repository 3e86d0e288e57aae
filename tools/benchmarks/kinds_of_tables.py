"""Sequences without recurrence, text and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tf_keras
from keras import layers as k3, ops
from kinds_basics import (
    CLASSES,
    KINDS,
    SAMPLES,
    SIDE,
    STEPS,
    Made,
    classes,
    convolutional,
    data,
    images,
    kind,
    rng,
    sequences,
    trained,
)
from tf_keras import layers as k2


def _attention(x: Any) -> Any:
    h = k3.Dense(16, name="embed")(x)
    for block in range(2):
        h = k3.LayerNormalization()(h + k3.MultiHeadAttention(2, 8, name=f"attention{block}")(h, h))
        h = k3.LayerNormalization()(h + k3.Dense(16)(k3.Dense(32, activation="gelu")(h)))
    return h


@kind
def _transformer() -> Made:
    x = k3.Input((STEPS, 3))
    y = k3.Dense(CLASSES, activation="softmax")(k3.GlobalAveragePooling1D()(_attention(x)))
    return trained(keras.Model(x, y), data(classes(), x=sequences()))


@kind
def _causal_attention() -> Made:
    x = k3.Input((STEPS, 3))
    h = k3.Dense(8)(x)
    h = k3.LayerNormalization()(h + k3.MultiHeadAttention(2, 4)(h, h, use_causal_mask=True))
    return trained(keras.Model(x, k3.Dense(CLASSES, activation="softmax")(h[:, -1, :])), data(classes(), x=sequences()))


@kind
def _padded_attention_h5() -> Made:
    random = rng()
    words = k2.Input((STEPS,), dtype="int32")
    h = k2.Embedding(40, 8, mask_zero=True)(words)
    h = k2.GlobalAveragePooling1D()(h + k2.MultiHeadAttention(2, 4)(h, h))
    x = random.integers(1, 40, (SAMPLES, STEPS)) * (np.arange(STEPS) < random.integers(4, STEPS + 1, (SAMPLES, 1)))
    return tf_keras.Model(words, k2.Dense(CLASSES, activation="softmax")(h)), data(classes(), x=x.astype("i4"))


@kind
def _vision_transformer() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    patches = k3.Reshape((16, -1))(k3.Conv2D(16, 4, strides=4)(x))
    y = k3.Dense(CLASSES, activation="softmax")(k3.GlobalAveragePooling1D()(_attention(patches)))
    return keras.Model(x, y), data(classes(), x=images())


@kind
def _temporal_convolution() -> Made:
    x = k3.Input((STEPS, 3))
    h = x
    for rate in (1, 2, 4):
        h = k3.Conv1D(8, 3, padding="causal", dilation_rate=rate, activation="relu")(h)
    return trained(keras.Model(x, k3.Dense(CLASSES, activation="softmax")(h[:, -1, :])), data(classes(), x=sequences()))


@kind
def _open_text() -> Made:
    random = rng()
    ids, attended = (k3.Input((None,), dtype="int32", name=name) for name in ("input_ids", "attention_mask"))
    mask = ops.expand_dims(ops.cast(attended, "float32"), -1)
    h = k3.Dense(16, activation="relu")(k3.Embedding(60, 16)(ids) * mask)
    y = k3.Dense(2, activation="softmax")(ops.sum(h * mask, axis=1) / ops.sum(mask, axis=1))
    x = {"input_ids": random.integers(1, 60, (SAMPLES, STEPS)).astype("i4")}
    x["attention_mask"] = (np.arange(STEPS) < random.integers(4, STEPS + 1, (SAMPLES, 1))).astype("i4")
    return keras.Model([ids, attended], y), data(classes() % 2, **x)


def _coded(encode: Callable[[Any], Any], dtype: str, codes: np.ndarray) -> Made:
    code, values = k3.Input((1,), dtype=dtype, name="code"), k3.Input((3,), name="values")
    h = k3.Dense(8, activation="relu")(k3.Concatenate()([encode(code), values]))
    x = {"code": codes.astype(dtype), "values": rng().normal(size=(SAMPLES, 3)).astype("f4")}
    return keras.Model([code, values], k3.Dense(1, activation="sigmoid")(h)), data(classes() % 2, **x)


_CODES = rng().integers(0, 5, (SAMPLES, 1))
KINDS["one_hot_codes"] = lambda: _coded(k3.CategoryEncoding(5, output_mode="one_hot"), "int32", _CODES)
KINDS["embedded_codes"] = lambda: _coded(lambda x: k3.Flatten()(k3.Embedding(5, 4)(x)), "int32", _CODES)
KINDS["looked_up_codes"] = lambda: _coded(
    k3.IntegerLookup(vocabulary=[7, 11, 19, 23, 29], output_mode="one_hot"),
    "int64",
    np.array([7, 11, 19, 23, 29])[_CODES],
)


@kind
def _many_ends() -> Made:
    now, before = k3.Input((8,), name="now"), k3.Input((8,), name="before")
    h = k3.Dense(8, activation="relu")(k3.Concatenate()([now, before]))
    ends = [k3.Dense(3, name="yaw")(h), k3.Dense(3, activation="softmax", name="kind")(h)]
    x = rng().normal(size=(SAMPLES, 8)).astype("f4")
    return keras.Model([now, before], [*ends, k3.Dense(3, activation="tanh", name="pitch")(h)]), data(
        now=x, before=3 * x[::-1]
    )


@kind
def _mixture_of_experts() -> Made:
    x = k3.Input((8,))
    gate = k3.Dense(3, activation="softmax")(x)
    experts = ops.stack([k3.Dense(8, activation="relu")(x) for _ in range(3)], axis=1)
    y = k3.Dense(CLASSES, activation="softmax")(ops.sum(experts * ops.expand_dims(gate, -1), axis=1))
    means = rng().normal(size=(CLASSES, 8))
    found = means[classes()] + rng().normal(size=(SAMPLES, 8))
    return trained(keras.Model(x, y), data(classes(), x=found.astype("f4")))


@kind
def _shared_at_two_sizes() -> Made:
    whole, part = k3.Input((SIDE, SIDE, 3), name="whole"), k3.Input((8, 8, 3), name="part")
    conv, norm = k3.Conv2D(6, 3, activation="relu"), k3.BatchNormalization()
    h = k3.Concatenate()([k3.GlobalAveragePooling2D()(norm(conv(x))) for x in (whole, part)])
    x = images()
    return keras.Model([whole, part], k3.Dense(CLASSES)(h)), data(classes(), whole=x, part=x[:, :8, :8])


@kind
def _table_regression() -> Made:
    x = rng().normal(size=(SAMPLES, 8)).astype("f4")
    model = keras.Sequential([k3.Input((8,)), k3.Dense(16, activation="relu"), k3.Dense(1)])
    return trained(model, data((x[:, :1] * x[:, 1:2]).astype("f4"), x=x), "mse")


@kind
def _table_of_far_columns() -> Made:
    scales = np.array([1, 10, 100, 3000, 1, 1, 0.01, 5], "f4")
    x = rng().normal(size=(SAMPLES, 8)).astype("f4") * scales
    normal = k3.Normalization()
    normal.adapt(x)
    model = keras.Sequential([k3.Input((8,)), normal, k3.Dense(16, activation="relu"), k3.Dense(1)])
    return trained(model, data((x / scales)[:, :1], x=x), "mse")


@kind
def _multi_label() -> Made:
    t = classes()
    y = np.stack([t % 2, t > 1, t == 3], axis=1).astype("i8")
    model = keras.Sequential([*convolutional(), k3.Dense(3, activation="sigmoid")])
    return trained(model, data(y, x=images()), "binary_crossentropy")


@kind
def _autoencoder() -> Made:
    x = images(8, 1).reshape(SAMPLES, 64)
    model = keras.Sequential([k3.Input((64,)), k3.Dense(12, activation="relu"), k3.Dense(64)])
    return trained(model, data(x, x=x), "mse")


@kind
def _dense_h5() -> Made:
    x = rng().normal(size=(SAMPLES, 8)).astype("f4")
    model = tf_keras.Sequential([k2.Input((8,)), k2.Dense(16), k2.BatchNormalization(), k2.ReLU(), k2.Dense(CLASSES)])
    return model, data(classes(), x=x)
