"""Networks for images: applications, activations, segmentation, detection, whole numbers, wrappers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tf_keras
from keras import layers as k3
from kinds_basics import (
    CLASSES,
    KINDS,
    SAMPLES,
    SIDE,
    Made,
    classes,
    convolutional,
    data,
    head,
    images,
    kind,
    rng,
    trained,
)


def _application(kit: Any, name: str, **options: Any) -> Callable[[], Made]:
    def make() -> Made:
        build = getattr(kit.applications, name)
        model = build(weights=None, input_shape=(32, 32, 3), classes=CLASSES, **options)
        return model, data(classes(), x=images(32))

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


for _activation in ("elu", "gelu", "silu", "hard_silu", "leaky_relu", "mish", "selu"):
    KINDS[f"activation_{_activation}"] = lambda name=_activation: trained(
        head(convolutional(name)), data(classes(), x=images())
    )


@kind
def _unet() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    down = k3.Conv2D(8, 3, padding="same", activation="relu")(x)
    deep = k3.Conv2D(16, 3, padding="same", activation="relu")(k3.MaxPooling2D()(down))
    up = k3.Conv2DTranspose(8, 2, strides=2)(deep)
    joined = k3.Conv2D(8, 3, padding="same", activation="relu")(k3.Concatenate()([up, down]))
    pictures = images()
    masks = (pictures.mean(axis=-1, keepdims=True) > 0.5).astype("u1")
    return trained(
        keras.Model(x, k3.Conv2D(1, 1, activation="sigmoid")(joined)), data(masks, x=pictures), "binary_crossentropy"
    )


@kind
def _segmentation_classes() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(8, 3, padding="same", activation="relu")(k3.UpSampling2D()(k3.AveragePooling2D(2)(x)))
    pictures = images()
    labels = np.digitize(pictures.mean(axis=-1), [0, 0.5, 1]).astype("i4")
    return trained(keras.Model(x, k3.Conv2D(CLASSES, 1, activation="softmax")(h)), data(labels, x=pictures))


@kind
def _detector() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    g = k3.Conv2D(16, 3, strides=2, padding="same", activation="relu")(h)
    boxes = [k3.Reshape((-1, 4))(k3.Conv2D(8, 3, padding="same")(each)) for each in (h, g)]
    scores = [k3.Reshape((-1, 3))(k3.Conv2D(6, 3, padding="same")(each)) for each in (h, g)]
    ends = [k3.Concatenate(axis=1, name="boxes")(boxes), k3.Softmax(name="scores")(k3.Concatenate(axis=1)(scores))]
    return keras.Model(x, ends), data(x=images())


@kind
def _siamese() -> Made:
    inner = keras.Sequential(
        [k3.Input((SIDE, SIDE, 3)), k3.Conv2D(8, 3, activation="relu"), k3.GlobalAveragePooling2D()]
    )
    left, right = k3.Input((SIDE, SIDE, 3), name="left"), k3.Input((SIDE, SIDE, 3), name="right")
    apart = k3.Dense(1, activation="sigmoid")(k3.Subtract()([inner(left), inner(right)]))
    pictures = images()
    same = (classes() == np.roll(classes(), 1)).astype("i4")
    return keras.Model([left, right], apart), data(same, left=pictures, right=np.roll(pictures, 1, axis=0))


@kind
def _squeeze_excite() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(8, 3, activation="relu")(x)
    gate = k3.Dense(8, activation="sigmoid")(k3.Dense(4, activation="relu")(k3.GlobalAveragePooling2D()(h)))
    h = k3.Multiply()([h, k3.Reshape((1, 1, 8))(gate)])
    return keras.Model(x, k3.Dense(CLASSES, activation="softmax")(k3.Flatten()(h))), data(classes(), x=images())


@kind
def _separable() -> Made:
    layers = [k3.Input((SIDE, SIDE, 3)), k3.SeparableConv2D(8, 3, activation="relu6"), k3.BatchNormalization()]
    model = head([*layers, k3.DepthwiseConv2D(3), k3.ReLU(6.0), k3.GlobalAveragePooling2D()])
    return trained(model, data(classes(), x=images()))


@kind
def _uint8_pixels() -> Made:
    x = np.clip(128 + 60 * images(), 0, 255).astype("u1")
    layers = [k3.Input((SIDE, SIDE, 3), dtype="uint8"), k3.Rescaling(1 / 127.5, -1)]
    return trained(head([*layers, k3.Conv2D(8, 3, activation="relu"), k3.Flatten()]), data(classes(), x=x))


@kind
def _augmented_and_normalized() -> Made:
    pictures = images()
    normal = k3.Normalization()
    normal.adapt(pictures)
    layers = [k3.Input((SIDE, SIDE, 3)), k3.RandomFlip(), k3.RandomRotation(0.1), normal, k3.Resizing(12, 12)]
    return trained(head([*layers, k3.Conv2D(8, 3, activation="relu"), k3.Flatten()]), data(classes(), x=pictures))


@kind
def _mixed_precision() -> Made:
    keras.config.set_dtype_policy("mixed_float16")
    model = head([*convolutional()[:-1], k3.Flatten(dtype="float32")])
    keras.config.set_dtype_policy("float32")
    return model, data(classes(), x=images())


@kind
def _frames() -> Made:
    inner = keras.Sequential([k3.Input((8, 8, 1)), k3.Conv2D(6, 3, activation="relu"), k3.Flatten()])
    layers = [k3.Input((5, 8, 8, 1)), k3.TimeDistributed(inner), k3.GlobalAveragePooling1D()]
    x = rng().normal(size=(SAMPLES, 5, 8, 8, 1)).astype("f4")
    return head(layers), data(classes(), x=x)


@kind
def _channel_slices() -> Made:
    x = k3.Input((SIDE, SIDE, 3))
    h = k3.Conv2D(6, 1)(k3.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(x, [h[..., 0:2], h[..., 2:6]]), data(x=images())
