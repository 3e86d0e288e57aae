"""Batch norms worked into the layers around them: each way proven by equal outputs, and what is left named."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers as kl

from edgebuild.flatbuffer import reader
from edgebuild.passes.graph import building, proof
from edgebuild.passes.graph.folding import Rewritten, fold_batch_norm, for_quantization_aware_training
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.loading import from_keras_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it compares versions with distutils
    from tensorflow_model_optimization.quantization import keras as quantization

IMAGE, ROWS, VOLUME = (8, 8, 3), (8, 3), (5, 5, 5, 3)
Make = Callable[[Any], Any]


def network(shape: tuple[int | None, ...], make: Make, *, signs: bool = True, shifts: bool = True) -> tf_keras.Model:
    """A network with random weights; scales of batch norms are of both signs unless `signs` is False."""
    rng = np.random.default_rng(5)
    inputs = tf_keras.Input(shape)
    model = tf_keras.Model(inputs, make(inputs))
    for variable in model.weights:
        word, size = variable.name.split("/")[-1].split(":")[0], tuple(variable.shape)
        if word == "moving_variance":
            variable.assign(rng.uniform(0.5, 2, size))
        elif word == "gamma":
            variable.assign(rng.uniform(0.5, 1.5, size) * (rng.choice([-1, 1], size) if signs else 1))
        elif word in {"beta", "moving_mean"}:
            variable.assign(rng.normal(0, 0.5, size) * shifts)
        else:
            variable.assign(rng.normal(0, 0.5, size))
    return model


def chain(*layers: Any) -> Make:
    """Layers called one after the other."""

    def make(tensor: Any) -> Any:
        for layer in layers:
            tensor = layer(tensor)
        return tensor

    return make


def norm(name: str = "norm", **options: Any) -> kl.BatchNormalization:
    return kl.BatchNormalization(name=name, **options)


def rewrite(model: tf_keras.Model, how: Callable[[Graph], Rewritten] = fold_batch_norm) -> Rewritten:
    """What comes of a model, proven to compute the same."""
    result = how(building.read(model))
    proof.require_equal(from_keras_model(model).call, result.graph, seed=1)
    return result


def kinds(graph: Graph) -> list[str]:
    return [graph.layers[call.layer].kind.__name__ for call in graph.calls]


def note(result: Rewritten) -> str:
    """The only note, of the batch norm "norm"."""
    ((layer, text, _),) = result.notes
    assert layer == "norm"
    return text


BEFORE: dict[str, tuple[tuple[int, ...], Any]] = {
    "Conv1D": (ROWS, kl.Conv1D(4, 3, padding="causal", name="linear")),
    "Conv1DTranspose": (ROWS, kl.Conv1DTranspose(4, 3, use_bias=False, name="linear")),
    "Conv2D": (IMAGE, kl.Conv2D(4, 3, padding="same", use_bias=False, name="linear")),
    "Conv2D with groups": (IMAGE, kl.Conv2D(6, 3, groups=3, name="linear")),
    "Conv2DTranspose": (IMAGE, kl.Conv2DTranspose(4, 3, 2, padding="same", name="linear")),
    "Conv3D": (VOLUME, kl.Conv3D(4, 3, name="linear")),
    "Conv3DTranspose": (VOLUME, kl.Conv3DTranspose(4, 2, use_bias=False, name="linear")),
    "Dense": ((5,), kl.Dense(4, use_bias=False, name="linear")),
    "Dense on rows": (ROWS, kl.Dense(4, name="linear")),
    "DepthwiseConv1D": (ROWS, kl.DepthwiseConv1D(3, depth_multiplier=2, name="linear")),
    "DepthwiseConv2D": (IMAGE, kl.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="linear")),
    "SeparableConv1D": (ROWS, kl.SeparableConv1D(4, 3, name="linear")),
    "SeparableConv2D": (IMAGE, kl.SeparableConv2D(4, 3, depth_multiplier=2, use_bias=False, name="linear")),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_batch_norm_goes_into_the_layer_it_follows(name: str) -> None:
    shape, layer = BEFORE[name]
    result = rewrite(network(shape, chain(layer, norm(), kl.ReLU())))
    assert kinds(result.graph) == [type(layer).__name__, "ReLU"]
    assert note(result) == "folded into linear, which it follows"


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_a_batch_norm_may_lack_its_scale_or_its_shift(options: dict[str, bool]) -> None:
    assert kinds(rewrite(network(IMAGE, chain(kl.Conv2D(4, 3), norm(**options)))).graph) == ["Conv2D"]


BEHIND: dict[str, tuple[tuple[int, ...], list[Any]]] = {
    "Conv1D": (ROWS, [kl.Conv1D(4, 3, dilation_rate=2)]),
    "Conv1D of one row": (ROWS, [kl.Conv1D(4, 1, padding="causal")]),
    "Conv2D": (IMAGE, [kl.Conv2D(4, 3, 2, use_bias=False)]),
    "Conv2D that pads nothing": (IMAGE, [kl.Conv2D(4, 2, 2, padding="same")]),
    "Conv2D of one pixel": (IMAGE, [kl.Conv2D(4, 1, 2, padding="same", activation="relu")]),
    "Conv2D with groups": ((8, 8, 6), [kl.Conv2D(9, 3, groups=3)]),
    "Conv3D": (VOLUME, [kl.Conv3D(4, 3)]),
    "Dense": ((5,), [kl.Dense(4, use_bias=False, activation="tanh")]),
    "DepthwiseConv1D": (ROWS, [kl.DepthwiseConv1D(3)]),
    "DepthwiseConv2D": (IMAGE, [kl.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)]),
    "SeparableConv1D": (ROWS, [kl.SeparableConv1D(4, 3, use_bias=False)]),
    "SeparableConv2D": (IMAGE, [kl.SeparableConv2D(4, 3, depth_multiplier=2)]),
    "through a mean": (IMAGE, [kl.AveragePooling2D(3, 2, padding="same"), kl.Dropout(0.2), kl.Conv2D(4, 3)]),
    "through flattening": (IMAGE, [kl.Cropping2D(2), kl.Flatten(), kl.Activation("linear"), kl.Dense(4)]),
    "through reshaping": (IMAGE, [kl.Reshape((4, 2, 24)), kl.Conv2D(4, 1)]),
    "through the mean of all": (IMAGE, [kl.GlobalAveragePooling2D(), kl.Dense(4)]),
    "through enlarging": (ROWS, [kl.UpSampling1D(2), kl.SpatialDropout1D(0.1), kl.Conv1D(4, 3)]),
    "through enlarging smoothly": (IMAGE, [kl.UpSampling2D(2, interpolation="bilinear"), kl.Conv2D(4, 3)]),
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_batch_norm_goes_into_the_layer_behind(name: str) -> None:
    shape, layers = BEHIND[name]
    result = rewrite(network(shape, chain(kl.ReLU(), norm(), *layers)))
    assert kinds(result.graph) == ["ReLU", *(type(layer).__name__ for layer in layers)]
    assert note(result) == f"folded forward into {layers[-1].name}"


@pytest.mark.parametrize("pool", [kl.MaxPooling2D(2), kl.GlobalMaxPooling2D(keepdims=True)])
def test_a_maximum_lets_only_scales_through_that_are_not_negative(pool: Any) -> None:
    layers = chain(kl.ReLU(), norm(), pool, kl.Conv2D(4, 1))
    assert "BatchNormalization" not in kinds(rewrite(network(IMAGE, layers, signs=False)).graph)
    kept = rewrite(network(IMAGE, layers))
    assert "BatchNormalization" in kinds(kept.graph)
    assert "a scale is negative" in note(kept)


@pytest.mark.parametrize(
    "layers", [[kl.Conv2D(4, 3, padding="same")], [kl.ZeroPadding2D(1), kl.Conv2D(4, 3, 2)]], ids=["same", "padding"]
)
def test_padding_with_zeros_lets_only_scales_through(layers: list[Any]) -> None:
    make = chain(kl.ReLU(), norm(center=False), *layers)
    assert "BatchNormalization" not in kinds(rewrite(network(IMAGE, make, shifts=False)).graph)
    kept = rewrite(network(IMAGE, make))
    assert "BatchNormalization" in kinds(kept.graph)
    assert "pads its input with zeros" in note(kept)


def test_all_that_follows_a_batch_norm_takes_it_over() -> None:
    def make(t: Any) -> Any:
        x = norm()(kl.ReLU()(t))
        return kl.Concatenate()([kl.Conv2D(2, 1, name="one")(x), kl.DepthwiseConv2D(1, name="two")(x)])

    result = rewrite(network(IMAGE, make))
    assert kinds(result.graph) == ["ReLU", "Conv2D", "DepthwiseConv2D", "Concatenate"]
    assert note(result) == "folded forward into one, two"


def _two_consumers(t: Any) -> Any:
    x = kl.Conv2D(4, 3, padding="same", name="conv")(t)
    return kl.Add(name="sum")([norm()(x), x])


def _shared_convolution(t: Any) -> Any:
    conv = kl.Conv2D(3, 3, padding="same", name="conv")
    return norm()(conv(conv(t)))


def _shared_norm(t: Any) -> Any:
    shared = norm()
    return shared(kl.ReLU()(shared(t)))


LEFT: dict[str, tuple[Make, str]] = {
    "activation": (
        chain(kl.Conv2D(4, 3, activation="relu", name="conv"), norm(), kl.Softmax(name="soft")),
        "left: the activation of conv (relu) comes between, and soft (Softmax) does not commute with it",
    ),
    "other axis": (chain(kl.Conv2D(4, 3), norm(axis=1)), "left: it does not normalize the last axis"),
    "output": (chain(kl.ReLU(name="relu"), norm()), "left: it follows relu (ReLU), and it is an output of the network"),
    "two consumers": (_two_consumers, "left: more than it follows conv, and sum takes other tensors too"),
    "shared layer": (_shared_convolution, "left: conv is used more than once, and it is an output of the network"),
    "shared norm": (_shared_norm, "left: it is used more than once"),
    "first": (chain(norm(), kl.ELU(name="elu")), "left: it follows the input, and elu (ELU) does not commute with it"),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_batch_norm_that_cannot_be_folded_is_left_and_the_reason_named(name: str) -> None:
    make, why = LEFT[name]
    result = rewrite(network(IMAGE, make))
    assert "BatchNormalization" in kinds(result.graph)
    assert note(result) == why


def test_only_the_batch_norms_named_are_folded() -> None:
    model = network(IMAGE, chain(kl.Conv2D(4, 3), norm("one"), kl.ReLU(), kl.Conv2D(4, 3), norm("two")))
    result = rewrite(model, lambda graph: fold_batch_norm(graph, ["two"]))
    assert [item.layer for item in result.notes] == ["two"]
    assert kinds(result.graph) == ["Conv2D", "BatchNormalization", "ReLU", "Conv2D"]


def mobilenet_like(t: Any) -> Any:
    x = kl.ReLU(6.0)(norm("n0")(kl.Conv2D(8, 3, 2, padding="same", use_bias=False)(t)))
    y = kl.ReLU(6.0)(norm("n1")(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    y = norm("n2")(kl.Conv2D(8, 1, use_bias=False)(y))
    return kl.Dense(3)(kl.GlobalAveragePooling2D()(kl.Add()([x, y])))


def pre_activated(t: Any) -> Any:
    x = kl.MaxPooling2D(2)(kl.Conv2D(8, 3, padding="same", name="stem")(t))
    y = kl.Conv2D(8, 1, use_bias=False)(kl.Activation("relu")(norm("n0")(x)))
    y = kl.Conv2D(8, 3, padding="same")(kl.Activation("relu")(norm("n1")(y)))
    return kl.Dense(3)(kl.GlobalAveragePooling2D()(kl.ReLU()(norm("n2")(kl.Add()([x, y])))))


def densely_connected(t: Any) -> Any:
    x = kl.Conv2D(4, 3, padding="same")(t)
    for number in range(2):
        y = kl.Conv2D(4, 3, padding="same")(kl.ReLU()(norm(f"n{number}")(x)))
        x = kl.Concatenate()([x, y])
    return kl.Dense(3)(kl.Flatten()(kl.AveragePooling2D(2)(x)))


def norm_after_relu(t: Any) -> Any:
    x = norm("n0")(kl.ReLU()(kl.Conv2D(4, 3)(t)))
    x = norm("n1")(kl.Conv2D(4, 3, activation="relu")(x))
    x = norm("n2")(kl.ReLU()(kl.Conv2D(4, 3, padding="same")(kl.ZeroPadding2D(1)(x))))
    x = norm("n3")(kl.ReLU()(kl.Dense(6)(kl.Flatten()(x))))
    return kl.Softmax()(norm("n4")(kl.ReLU()(norm("n5")(kl.Dense(5)(x)))))


# For each network the batch norms that quantization-aware training can keep, fold back, fold forward, and the others.
NETWORKS: dict[str, tuple[Make, dict[str, str]]] = {
    "mobilenet": (mobilenet_like, {}),
    "pre-activated": (pre_activated, {"n0": "made", "n2": "made"}),
    "densely connected": (densely_connected, {"n0": "made", "n1": "made"}),
    "after relu": (
        norm_after_relu,
        {"n0": "folded forward", "n1": "made", "n2": "folded forward", "n3": "folded forward", "n4": "made"}
        | {"n5": "folded into"},
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_rewritten_for_quantization_aware_training_is_accepted(name: str) -> None:
    make, expected = NETWORKS[name]
    model = network(IMAGE, make)
    result = rewrite(model, for_quantization_aware_training)
    assert {item.layer: item.text[: len(expected[item.layer])] for item in result.notes} == expected
    quantization.quantize_model(building.build(result.graph))
    if expected:
        with pytest.raises(RuntimeError, match="BatchNormalization"):
            quantization.quantize_model(model)
    else:
        assert result.graph.identity() == building.read(model).identity()


@pytest.mark.parametrize("shape", [(7,), (8, 3), (None, 3), (4, 4, 3), (None, None, 3), (3, 4, 4, 2), (3, None, 4, 2)])
def test_a_batch_norm_becomes_a_convolution_whatever_the_shape(shape: tuple[int | None, ...]) -> None:
    model = network(shape, chain(kl.ReLU(), norm(), kl.ReLU()))
    result = for_quantization_aware_training(building.read(model))
    assert "DepthwiseConv2D" in kinds(result.graph)
    assert "BatchNormalization" not in kinds(result.graph)
    x = np.random.default_rng(0).normal(size=(2, *(size or 5 for size in shape))).astype(np.float32)
    (out,) = proof.outputs_of(building.build(result.graph), [x])
    assert proof.difference(np.asarray(model(x)), out) <= proof.TOLERANCE


def test_a_shared_batch_norm_becomes_a_shared_convolution() -> None:
    result = rewrite(network(ROWS, _shared_norm), for_quantization_aware_training)
    assert kinds(result.graph).count("DepthwiseConv2D") == 2
    assert result.graph.layers["norm"].kind is kl.DepthwiseConv2D


def test_channels_that_are_not_last_are_left_to_be_named() -> None:
    model = network(IMAGE, chain(kl.ReLU(), norm(axis=1)))
    assert note(rewrite(model, for_quantization_aware_training)) == "left: it does not normalize the last axis"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("layer", [kl.Dense(4), kl.Conv2DTranspose(4, 3)], ids=["dense", "transposed"])
def test_what_the_converter_would_leave_in_float_is_folded(layer: Any, tmp_path: Path) -> None:
    model = network(IMAGE if isinstance(layer, kl.Conv2DTranspose) else (5,), chain(layer, norm()))
    rewritten = building.build(rewrite(model, for_quantization_aware_training).graph)
    assert dtypes_after_training(rewritten, tmp_path) == {"int8"}
    assert "float32" in dtypes_after_training(model, tmp_path)


def dtypes_after_training(model: tf_keras.Model, folder: Path) -> set[str]:
    """The types that the layer's operator takes and makes, after quantization-aware training; biases left out."""
    trained = quantization.quantize_model(model)
    trained(np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])), training=True)
    converter = tf.lite.TFLiteConverter.from_keras_model(trained)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (folder / "trained.tflite").write_bytes(converter.convert())
    operators = reader.read(folder / "trained.tflite").operators
    (main,) = [item for item in operators if item.name in {"FULLY_CONNECTED", "TRANSPOSE_CONV"}]
    return set(main.dtypes) - {"int32"}
