"""Operators of artifacts, attributed to the layers of Keras models that they come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from converting import converted

from edgebuild.actions.networks import CarryJob
from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes import carry
from edgebuild.passes.freeze import freeze
from edgebuild.passes.graph import building, from_keras3
from edgebuild.passes.loading import from_keras_model
from edgebuild.pipeline.compress import taken_apart
from edgebuild.readback import layers_of

_FLOAT = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
_INT8 = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=True)
_SHAPE = (8, 8, 2)
_BOTH = pytest.mark.parametrize("made_in", [tf_keras, keras], ids=["tf_keras", "keras 3"])


def _nested(made_in: Any) -> Any:
    """Two models in a model: each has a layer "conv", and one of them a model with such a layer again."""
    layers = made_in.layers
    inner = made_in.Sequential([layers.Input(_SHAPE), layers.Conv2D(3, 3, name="conv")], name="inner")
    image = made_in.Input(_SHAPE)
    middle = layers.SeparableConv2D(4, 3, activation="swish", name="separable_conv2d_1")(inner(image))
    backbone = made_in.Model(image, layers.Conv2D(4, 3, name="conv")(middle), name="backbone")
    features = made_in.Input((2, 2, 4))
    flat = layers.Flatten(name="flat")(features)
    head = made_in.Model(features, layers.Dense(3, activation="softmax", name="scores")(flat), name="head")
    image = made_in.Input(_SHAPE, name="image")
    return made_in.Model(image, head(backbone(image)), name="nested")


def _attributed(model: Any, folder: Path, settings: Quantize = _FLOAT) -> list[tuple[str, tuple[str, ...]]]:
    network = from_keras_model(model)
    samples = [np.random.default_rng(0).normal(size=(4, *spec.shape[1:])).astype(np.float32) for spec in network.inputs]
    operators = reader.read(converted(network, samples, settings, folder / "out")).operators
    return [(operator.name, layers_of(operator.tensor, network.layers)) for operator in operators]


@_BOTH
def test_operators_of_nested_networks_come_from_the_layers_inside(made_in: Any, tmp_path: Path) -> None:
    assert _attributed(_nested(made_in), tmp_path) == [
        ("CONV_2D", ("inner/conv",)),
        ("DEPTHWISE_CONV_2D", ("separable_conv2d_1",)),
        ("CONV_2D", ("separable_conv2d_1",)),
        ("LOGISTIC", ("separable_conv2d_1",)),
        ("MUL", ("separable_conv2d_1",)),
        ("CONV_2D", ("backbone/conv",)),
        ("RESHAPE", ("flat",)),
        ("FULLY_CONNECTED", ("scores",)),
        ("SOFTMAX", ("scores",)),
    ]


@_BOTH
def test_numbers_that_keras_gives_do_not_shift_the_layers(made_in: Any, tmp_path: Path) -> None:
    names = ("conv2d", "conv2d_1", "conv2d_2")
    image = tensor = made_in.Input(_SHAPE)
    for name in names:
        tensor = made_in.layers.Conv2D(3, 3, name=name)(tensor)
    found = _attributed(made_in.Model(image, made_in.layers.Flatten(name="flat")(tensor)), tmp_path)
    assert found == [*(("CONV_2D", (name,)) for name in names), ("RESHAPE", ("flat",))]


@_BOTH
def test_a_network_may_be_called_like_one_of_its_layers(made_in: Any, tmp_path: Path) -> None:
    layers = made_in.layers
    image = made_in.Input(_SHAPE)
    body = layers.Flatten(name="flat")(layers.Conv2D(3, 3, name="mid")(layers.Conv2D(3, 3, name="conv")(image)))
    found = _attributed(made_in.Model(image, body, name="conv"), tmp_path)
    assert found == [("CONV_2D", ("conv",)), ("CONV_2D", ("mid",)), ("RESHAPE", ("flat",))]


@_BOTH
def test_taken_apart_a_network_has_the_same_layers(made_in: Any, tmp_path: Path) -> None:
    model = _nested(made_in)
    frozen = freeze(from_keras_model(model), tmp_path, name="net").network
    graph = (building if made_in is tf_keras else from_keras3).read(model)
    assert {layer for layer in graph.layers if "swish" not in layer} == {*frozen.layers} - {"image"}
    assert frozen.within == {
        "backbone": ("inner/conv", "separable_conv2d_1", "backbone/conv"),
        "inner": ("inner/conv",),
        "head": ("flat", "scores"),
    }


def test_a_nested_network_stands_for_the_layers_that_it_was_carried_over_as(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    model = _nested(tf_keras)
    model.save(path)
    fields: dict[str, Any] = {"input_shape": (), "signature": "", "allow_code": False}
    carried = carry.run(CarryJob(kind="file", path=str(path), out=str(tmp_path), **fields), lambda _: None)
    network = freeze(from_keras_model(model), tmp_path / "frozen", name="net").network
    instead = taken_apart(network, carried)
    assert instead["backbone"] == ("inner/conv", "separable_conv2d_1", "backbone/conv")
    assert instead["backbone/conv"] == ("backbone/conv",)
    assert "image" not in instead


class _Block(tf_keras.Model):  # type: ignore[misc]
    """A model whose own code computes something beside its layers."""

    def __init__(self) -> None:
        super().__init__(name="block")
        self.conv = tf_keras.layers.Conv2D(2, 3, padding="same", name="conv")

    def call(self, values: Any) -> Any:
        """Compute."""
        return tf.sin(self.conv(values))


def test_what_the_code_of_a_nested_network_computes_comes_from_that(tmp_path: Path) -> None:
    image = tf_keras.Input(_SHAPE)
    model = tf_keras.Model(image, tf_keras.layers.Flatten(name="flat")(_Block()(image)))
    found = _attributed(model, tmp_path)
    assert found == [("CONV_2D", ("conv",)), ("SIN", ("block",)), ("RESHAPE", ("flat",))]
    assert from_keras_model(model).within == {"block": ("block", "conv")}


def test_models_are_left_as_they_were() -> None:
    model = _nested(keras)
    inner = model.get_layer("backbone").get_layer("separable_conv2d_1")
    before = dict(vars(inner))
    from_keras_model(model).call(tf.zeros((1, *_SHAPE)))
    assert vars(inner).keys() == before.keys()
    with pytest.raises(ValueError, match="inputs"):
        from_keras_model(model).call(tf.zeros((1, *_SHAPE)), tf.zeros(1))
    assert "call" not in vars(inner)
