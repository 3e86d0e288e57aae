"""Batch norms have the mean and variance of what the network gives them, whatever was done to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from edgebuild.passes.training.statistics import BatchNorms

kl = tf_keras.layers
RNG = np.random.default_rng(0)


def _batches(x: Any, size: int = 50) -> list[list[Any]]:
    return [[x[start : start + size]] for start in range(0, len(x), size)]


def _given(model: Any, norm: str, x: Any) -> Any:
    """What a batch norm is given in inference, [values, channels]."""
    found = np.asarray(tf_keras.Model(model.inputs, model.get_layer(norm).input)(x), np.float64)
    return found.reshape(-1, found.shape[-1])


def _network(**options: Any) -> Any:
    tf_keras.utils.set_random_seed(0)
    image = kl.Input((8, 8, 3))
    x = kl.Conv2D(6, 3, kernel_initializer=tf_keras.initializers.RandomNormal(stddev=2.0))(image)
    x = kl.BatchNormalization(name="first", **options)(x)
    x = kl.Dropout(0.5)(kl.ReLU()(x))
    x = kl.BatchNormalization(name="second", scale=False, center=False)(kl.Conv2D(5, 3)(x))
    return tf_keras.Model(image, kl.Dense(2)(kl.GlobalAveragePooling2D()(x)))


def test_they_are_those_of_all_samples() -> None:
    model, x = _network(), (3 * RNG.normal(size=(220, 8, 8, 3)) + 1).astype(np.float32)

    BatchNorms.of(model).bring_up_to_date(_batches(x))

    for name, tolerance in {"first": 1e-4, "second": 0.02}.items():
        norm, given = model.get_layer(name), _given(model, name, x)
        np.testing.assert_allclose(norm.moving_variance, given.var(axis=0), rtol=tolerance)
        assert np.abs(norm.moving_mean - given.mean(axis=0)).max() < tolerance * given.std()


def test_weights_stay_and_outputs_are_those_of_training_without_its_noise() -> None:
    model, x = _network(), RNG.normal(size=(200, 8, 8, 3)).astype(np.float32)
    model.get_layer("first").set_weights([*RNG.uniform(0.5, 2, (2, 6)), *model.get_layer("first").get_weights()[2:]])
    before = [variable.numpy() for variable in model.trainable_variables]

    BatchNorms.of(model).bring_up_to_date([[x]])

    assert all(np.array_equal(old, new) for old, new in zip(before, model.trainable_variables, strict=True))
    for layer in model.layers:
        if isinstance(layer, kl.Dropout):
            layer.rate = 0.0
    np.testing.assert_allclose(model(x), model(x, training=True), atol=2e-3)


@pytest.mark.parametrize("kind", ["not trainable", "told to infer"])
def test_those_that_training_leaves_alone_are_left_alone(kind: str) -> None:
    if kind == "told to infer":
        image = kl.Input((4, 4, 3))
        model = tf_keras.Model(image, kl.BatchNormalization(name="first")(image, training=False))
    else:
        model = _network(trainable=False)
    x = (RNG.normal(size=(60, *model.input_shape[1:])) + 5).astype(np.float32)

    BatchNorms.of(model).bring_up_to_date(_batches(x))

    assert np.array_equal(model.get_layer("first").moving_mean, np.zeros_like(model.get_layer("first").moving_mean))


def test_one_that_is_used_twice_in_a_wrapper_and_on_another_axis_has_its_own() -> None:
    frames = kl.Input((4, 6, 2))
    twice = kl.BatchNormalization(name="twice")
    shared = twice(frames) + twice(3.0 * frames)
    each = kl.TimeDistributed(kl.BatchNormalization(axis=1), name="each")(frames)
    model = tf_keras.Model(frames, [shared, each])
    x = RNG.normal(size=(100, 4, 6, 2)).astype(np.float32)

    BatchNorms.of(model).bring_up_to_date(_batches(x))

    both = np.concatenate([x, 3 * x]).reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(twice.moving_variance, both.var(axis=0), rtol=1e-4)
    inner = model.get_layer("each").layer
    np.testing.assert_allclose(inner.moving_mean, x.mean(axis=(0, 1, 3)), atol=1e-5)


def test_a_network_without_any_and_a_single_sample_change_nothing() -> None:
    model = tf_keras.Sequential([kl.Input((3,)), kl.BatchNormalization()])
    BatchNorms.of(model).bring_up_to_date([[np.ones((1, 3), np.float32)]])
    assert np.array_equal(model.layers[0].moving_mean, np.zeros(3))
    BatchNorms.of(tf_keras.Sequential([kl.Input((3,)), kl.Dense(2)])).bring_up_to_date([[tf.ones((4, 3))]])
