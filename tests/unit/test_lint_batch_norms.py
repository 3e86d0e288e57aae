"""The batch norms that the lint finds in frozen networks of every kind."""

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

from edgebuild.actions import datasets, networks
from edgebuild.core.metric import Metric
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Examples
from edgebuild.data.lint import changes
from edgebuild.data.samples import save
from edgebuild.passes import freeze, lint
from edgebuild.passes.batch_norms import FrozenView
from edgebuild.passes.loading import from_keras_model

KITS = pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras 3", "tf_keras"])
SHAPE = (6, 6, 2)


def _settled(model: Any, x: np.ndarray) -> Any:
    """The model with the moving statistics of these samples in all of its batch norms."""
    for layer in model.layers:
        if hasattr(layer, "momentum"):
            layer.momentum = 0.0
    model(x, training=True)
    return model


def _view(model: Any, folder: Path) -> FrozenView:
    frozen = freeze.freeze(from_keras_model(model), folder, name="net")
    return FrozenView(tf.saved_model.load(str(folder / networks.SAVED_MODEL)), batched=frozen.batched)


def _samples(shape: tuple[int, ...], count: int = 200) -> np.ndarray:
    return np.random.default_rng(0).random((count, *shape)).astype(np.float32)


@KITS
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_the_norm_of_a_convolution_sees_what_the_network_gives_it(kit: Any, settings: Any, tmp_path: Path) -> None:
    layers = kit.layers
    inputs = layers.Input(SHAPE)
    convolved = layers.Conv2D(5, 3, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(**settings)(convolved))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))  # comes after the first: not looked at
    x = layers.Flatten()(x)
    given = _samples(SHAPE)
    model = _settled(kit.Model(inputs, layers.Dense(3)(x)), given)
    seen = np.asarray(kit.Model(inputs, convolved)(given)).reshape(-1, 5)

    (norm,) = _view(model, tmp_path).norms([given])

    np.testing.assert_allclose(norm.mean, seen.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(norm.variance, seen.var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(norm.moving_mean, norm.mean, atol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, norm.variance, rtol=0.01)
    assert changes.misfit_of_norms([norm]) < 0.05


@KITS
def test_the_norm_of_a_dense_layer_and_that_of_each_input_are_found(kit: Any, tmp_path: Path) -> None:
    layers = kit.layers
    one, other = layers.Input((4,), name="zebra"), layers.Input((4,), name="ape")
    left = layers.BatchNormalization()(layers.Dense(6)(one))
    right = layers.BatchNormalization()(other)
    model = kit.Model([one, other], layers.Dense(3)(layers.Concatenate()([left, right])))
    given = [_samples((4,)), 3 + 2 * _samples((4,))]
    view = _view(_settled(model, given), tmp_path)

    norms = view.norms(given)

    assert sorted(len(norm.mean) for norm in norms) == [4, 6]
    assert changes.misfit_of_norms(norms) < 0.05
    assert changes.misfit_of_norms(view.norms(given[::-1])) > 1
    assert view.answers(given).shape == (200, 3)


def test_layer_norm_is_no_batch_norm(tmp_path: Path) -> None:
    inputs = keras.Input((6,))
    x = keras.layers.LayerNormalization()(keras.layers.Dense(5)(inputs))
    view = _view(keras.Model(inputs, keras.layers.Dense(3)(x)), tmp_path)
    assert view.norms([_samples((6,))]) == ()


def test_a_network_without_layers_shows_its_norms_too(tmp_path: Path) -> None:
    inputs = tf_keras.Input(SHAPE)
    x = tf_keras.layers.BatchNormalization()(tf_keras.layers.DepthwiseConv2D(3)(inputs))
    given = _samples(SHAPE)
    model = _settled(tf_keras.Model(inputs, tf_keras.layers.Dense(3)(tf_keras.layers.Flatten()(x))), given)
    module = tf.Module()
    module.kept = model.variables
    spec = tf.TensorSpec([None, *SHAPE], tf.float32, "image")
    call = tf.function(lambda image: {"answer": model(image)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "layerless"), signatures=call)
    out = tmp_path / "out"
    out.mkdir()
    job = networks.FreezeJob(
        kind="folder",
        path=str(tmp_path / "layerless"),
        input_shape=(),
        signature="",
        allow_code=False,
        out=str(out),
    )
    frozen = freeze.run(job, lambda text: None)
    view = FrozenView(tf.saved_model.load(str(out / networks.SAVED_MODEL)), batched=frozen.batched)

    assert changes.misfit_of_norms(view.norms([given])) < 0.05
    assert changes.misfit_of_norms(view.norms([given * 255])) > 4


def test_a_network_whose_inside_cannot_be_had_is_linted_without_it(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    frozen = freeze.freeze(
        from_keras_model(keras.Model(inputs, keras.layers.Dense(3)(inputs))), tmp_path / "net", name="net"
    )
    save(Examples((_samples((4,), 20),)), tmp_path / datasets.CALIBRATION)
    job = datasets.LintJob(
        saved_model=str(tmp_path / "none"),
        network=frozen.network,
        batched=frozen.batched,
        data={datasets.CALIBRATION: str(tmp_path / datasets.CALIBRATION)},
        preprocess=Preprocess(scale=1.0, mean=0.0),
        metric=Metric(name="accuracy", k=5, output=0, lower_is_better=False),
        labels=(),
        baseline=None,
    )
    assert [finding.code for finding in lint.run(job, lambda text: None).findings] == ["too-few-samples"]
