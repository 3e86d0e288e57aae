"""Kernels rounded onto the converter's grid: how much error that saves, what is kept, and what the artifact holds."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers as kl

from edgebuild.flatbuffer import weights
from edgebuild.passes.calibration import least_squares, patches, rounding
from edgebuild.passes.calibration.grid import with_weights_onto
from edgebuild.passes.calibration.least_squares import Held
from edgebuild.passes.graph.building import weights_of
from edgebuild.passes.graph.ir import Layer

IMAGE, ROWS = (9, 8, 4), (11, 4)
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def correlated(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Activations as they are behind a ReLU: channels have much to do with each other, and so have neighbours."""
    rng = np.random.default_rng(seed)
    parts = max(2, shape[-1] // 4)
    few = rng.normal(size=(*shape[:-1], parts))
    if len(shape) > 2:
        few = 0.4 * few + rng.normal(size=(shape[0], *[1] * (len(shape) - 2), parts))
    mixing = np.random.default_rng(99).normal(size=(few.shape[-1], shape[-1]))
    return np.maximum(few @ mixing + 0.1 * rng.normal(size=shape), 0).astype(np.float32)


def layer_of(made: Any, shape: tuple[int, ...], *, zeros: float = 0.0) -> Layer:
    """A layer for inputs of a shape without the batch, with random weights and a share of zeros in its kernels."""
    made.build((None, *shape))
    rng = np.random.default_rng(3)
    arrays = {
        name: (rng.normal(0, 0.3, array.shape) * (rng.random(array.shape) >= (zeros if name in KERNELS else 0))).astype(
            np.float32
        )
        for name, array in weights_of(made).items()
    }
    return Layer(made.name, type(made), made.get_config(), arrays)


def outputs(layer: Layer, inputs: Any) -> Any:
    """What a layer makes before its activation."""
    made = layer.kind.from_config({**layer.config, "activation": "linear"})  # type: ignore[attr-defined]
    made.build(inputs.shape)
    made.set_weights(list(layer.weights.values()))
    return np.asarray(made(inputs))


def loss(layer: Layer, given: Any, wanted: Any) -> float:
    return float(np.square(outputs(layer, given) - wanted).sum(dtype=np.float64))


def integers(layer: Layer, name: str) -> Any:
    """The int8 values that the converter's arithmetic makes of a kernel: max|w| / 127 by output channel, rounded."""
    array = layer.weights[name]
    channels = {"depthwise_kernel": (-2, -1)}.get(name, (-2,) if "Transpose" in layer.kind.__name__ else (-1,))
    others = tuple(axis for axis in range(array.ndim) if axis - array.ndim not in channels)
    step = np.abs(array).max(others, keepdims=True) / np.float32(127)
    return array / np.where(step > 0, step, 1)


CASES = [
    (IMAGE, lambda: kl.Conv2D(6, 3)),
    (IMAGE, lambda: kl.Conv2D(6, (3, 2), strides=2, padding="same")),
    (IMAGE, lambda: kl.Conv2D(6, 3, strides=(2, 1), padding="same", groups=2)),
    (IMAGE, lambda: kl.Conv2D(6, 3, dilation_rate=2, padding="same", use_bias=False)),
    (IMAGE, lambda: kl.DepthwiseConv2D(3, padding="same", strides=2)),
    (IMAGE, lambda: kl.DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=2)),
    (ROWS, lambda: kl.Conv1D(5, 3, padding="causal", dilation_rate=2)),
    (ROWS, lambda: kl.Conv1D(6, 4, strides=3, padding="causal")),
    (ROWS, lambda: kl.Conv1D(6, 4, strides=3, padding="same", groups=2)),
    (ROWS, lambda: kl.DepthwiseConv1D(3, depth_multiplier=2, strides=2, padding="same")),
    ((7,), lambda: kl.Dense(5)),
    (ROWS, lambda: kl.Dense(5)),
    (IMAGE, lambda: kl.Dense(5, use_bias=False)),
    (IMAGE, lambda: kl.Conv2DTranspose(5, (2, 4), strides=3, padding="same")),
    (IMAGE, lambda: kl.Conv2DTranspose(5, 3, strides=2)),
    (IMAGE, lambda: kl.Conv2DTranspose(5, 2, strides=3)),
    (IMAGE, lambda: kl.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=1)),
    (ROWS, lambda: kl.Conv1DTranspose(5, 3, strides=2, padding="same")),
]
CASE_NAMES = [f"{number}-{type(make()).__name__}" for number, (_, make) in enumerate(CASES)]


@pytest.mark.parametrize(("shape", "make"), CASES, ids=CASE_NAMES)
def test_rows_times_the_kernel_are_what_keras_computes(shape: Any, make: Any) -> None:
    layer = layer_of(make(), shape)
    x = correlated((5, *shape))
    rows = patches.sampled(layer, x, 2 * x, seed=0)
    wanted = outputs(layer, x) - layer.weights.get("bias", 0)

    made = np.moveaxis(rows.exact @ patches.kernel(layer), 0, 1).reshape(wanted.reshape(-1, wanted.shape[-1]).shape)

    np.testing.assert_allclose(made, wanted.reshape(made.shape), atol=2e-5)
    np.testing.assert_array_equal(rows.given, 2 * rows.exact)
    np.testing.assert_array_equal(np.bincount(rows.samples), [len(made) // 5] * 5)
    back = patches.with_kernel(layer, patches.kernel(layer))
    assert all(np.array_equal(back.weights[name], array) for name, array in layer.weights.items())


def test_rows_are_a_sample_within_bounds_and_the_same_for_one_seed() -> None:
    layer = layer_of(kl.Conv2D(4, 3), (40, 40, 4))
    x = correlated((8, 40, 40, 4))
    first, again, other = (patches.sampled(layer, x, x, seed=seed) for seed in (1, 1, 2))
    assert first.exact.shape == (1, 4096, 36)
    np.testing.assert_array_equal(first.exact, again.exact)
    assert not np.array_equal(first.exact, other.exact)


@pytest.mark.parametrize(("shape", "make"), CASES, ids=CASE_NAMES)
def test_every_kind_of_layer_comes_out_on_the_grid_with_less_error_than_rounding_to_nearest(
    shape: Any, make: Any
) -> None:
    layer = layer_of(make(), shape)
    x = correlated((40, *shape))
    fitted = rounding.refit(layer, x, x)
    wanted = outputs(layer, x)
    assert loss(fitted, x, wanted) < 0.8 * loss(with_weights_onto(layer), x, wanted)
    name = next(name for name in KERNELS if name in layer.weights)
    steps = integers(fitted, name)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


@pytest.mark.parametrize(
    "make", [lambda: kl.SeparableConv2D(8, 3, depth_multiplier=2), lambda: kl.SeparableConv2D(8, 3)]
)
def test_both_kernels_of_a_separable_convolution_are_fitted(make: Any) -> None:
    layer = layer_of(make(), (9, 8, 8))
    x, unseen = correlated((40, 9, 8, 8)), correlated((40, 9, 8, 8), seed=1)
    fitted = rounding.refit(layer, x, x)
    wanted = outputs(layer, unseen)
    assert loss(fitted, unseen, wanted) < 0.6 * loss(with_weights_onto(layer), unseen, wanted)
    for name in ("depthwise_kernel", "pointwise_kernel"):
        np.testing.assert_allclose(integers(fitted, name), np.rint(integers(fitted, name)), atol=1e-3)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_a_wide_layer_of_correlated_inputs_keeps_a_fraction_of_the_error_on_unseen_inputs(activation: str) -> None:
    layer = layer_of(kl.Dense(16, activation=activation), (64,))
    x, unseen = correlated((2000, 64)), correlated((1000, 64), seed=1)
    wanted = outputs(layer, unseen)
    nearest = loss(with_weights_onto(layer), unseen, wanted)
    assert loss(rounding.refit(layer, x, x, adaptive=False), unseen, wanted) < 0.9 * nearest
    assert loss(rounding.refit(layer, x, x), unseen, wanted) < 0.4 * nearest


def test_a_kernel_makes_up_for_inputs_that_quantization_changed() -> None:
    layer = layer_of(kl.Dense(8), (32,))
    rng = np.random.default_rng(0)

    def twins(seed: int) -> tuple[Any, Any]:
        x = correlated((1500, 32), seed)
        return x, (x * np.linspace(0.8, 1.1, 32) + 0.05).astype(np.float32)

    (x, given), (unseen, changed) = twins(0), twins(1)
    wanted = outputs(layer, unseen)
    means = rounding.refit(layer, x, given, adaptive=False)
    fitted = rounding.refit(layer, x, given)
    assert loss(fitted, changed, wanted) < 0.02 * loss(means, changed, wanted)
    noise = (x + rng.normal(0, 1e-3, x.shape)).astype(np.float32)[:12]
    few = rounding.refit(layer, x[:12], noise)  # from so few rows nothing can be learnt about 32 inputs
    assert loss(few, unseen, wanted) < 2 * loss(with_weights_onto(layer), unseen, wanted)


def test_the_bias_takes_the_difference_of_the_means_unless_that_is_off() -> None:
    layer = layer_of(kl.Conv2D(6, 3, padding="same", activation="relu"), IMAGE)
    x = correlated((30, *IMAGE))
    given = x + np.float32(0.3)
    wanted = outputs(layer, x)
    fitted, left = (rounding.refit(layer, x, given, adaptive=False, correct=correct) for correct in (True, False))
    shift = np.abs((outputs(fitted, given) - wanted).mean((0, 1, 2)))
    assert shift.max() < 1e-5
    assert np.abs((outputs(left, given) - wanted).mean((0, 1, 2))).max() > 0.05
    np.testing.assert_array_equal(left.weights["bias"], layer.weights["bias"])
    bare = layer_of(kl.Conv2D(6, 3, use_bias=False), IMAGE)
    assert list(rounding.refit(bare, x, given).weights) == ["kernel"]


@pytest.mark.parametrize(
    ("shape", "make"),
    [(IMAGE, lambda: kl.Conv2D(6, 3)), ((64,), lambda: kl.Dense(8)), (IMAGE, lambda: kl.DepthwiseConv2D(3))],
)
def test_zeros_stay_zeros_also_where_the_kernel_is_corrected(shape: Any, make: Any) -> None:
    layer = layer_of(make(), shape, zeros=0.7)
    name = next(name for name in KERNELS if name in layer.weights)
    layer.weights[name][..., 0, :1] = 0
    x = correlated((60, *shape))
    given = (x * np.linspace(0.8, 1.2, shape[-1])).astype(np.float32)
    fitted = rounding.refit(layer, x, given)
    zero = layer.weights[name] == 0
    assert not fitted.weights[name][zero].any()
    assert np.count_nonzero(fitted.weights[name]) > 0.8 * np.count_nonzero(layer.weights[name])
    wanted = outputs(layer, x)
    assert loss(fitted, given, wanted) < 0.7 * loss(rounding.refit(layer, x, given, adaptive=False), given, wanted)


def test_channels_of_zeros_and_tiny_channels_stay_as_they_are() -> None:
    layer = layer_of(kl.Dense(4), (16,))
    layer.weights["kernel"][:, 1] = 0
    layer.weights["kernel"][:, 2] *= 1e-7
    x = correlated((100, 16))
    fitted = rounding.refit(layer, x, x).weights["kernel"]
    np.testing.assert_array_equal(fitted[:, 1:3], layer.weights["kernel"][:, 1:3])


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_inputs_that_never_vary_do_no_harm(constant: float) -> None:
    layer = layer_of(kl.Dense(4), (16,))
    x = np.full((50, 16), constant, np.float32)
    fitted = rounding.refit(layer, x, x)
    assert all(np.isfinite(array).all() for array in fitted.weights.values())
    np.testing.assert_allclose(outputs(fitted, x), outputs(layer, x), atol=1e-5)


def test_no_channel_is_worse_than_rounding_to_nearest_by_the_measure_that_is_minimized() -> None:
    layer = layer_of(kl.Dense(64, use_bias=False), (9,))
    x = np.random.default_rng(0).normal(size=(500, 9)).astype(np.float32)  # nothing to gain from correlations
    damping = 0.01 * np.square(x).sum(0)

    def by_channel(fitted: Layer) -> Any:
        difference = (fitted.weights["kernel"] - layer.weights["kernel"]).astype(np.float64)
        return np.square(x @ difference).sum(0) + damping @ np.square(difference)

    assert (by_channel(rounding.refit(layer, x, x)) <= by_channel(with_weights_onto(layer)) * (1 + 1e-4)).all()


def test_above_the_bound_kernels_are_rounded_to_nearest_and_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(kl.Dense(16), (64,))
    layer.weights["kernel"][0] *= 3
    x = correlated((500, 64))
    x[:, 0] *= 0.01  # the largest weights meet the smallest inputs
    monkeypatch.setattr(rounding, "_WIDEST", 63)
    fitted = rounding.refit(layer, x, x)
    wanted = outputs(layer, x)
    assert loss(fitted, x, wanted) < 0.8 * loss(with_weights_onto(layer), x, wanted)
    np.testing.assert_allclose(integers(fitted, "kernel"), np.rint(integers(fitted, "kernel")), atol=1e-3)


def test_large_kernels_are_worked_on_in_blocks_with_less_error_than_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "_LARGE", 0)
    layer = layer_of(kl.Dense(8), (200,))  # more than three blocks
    x = correlated((1000, 200))
    wanted = outputs(layer, x)
    assert loss(rounding.refit(layer, x, x), x, wanted) < 0.4 * loss(with_weights_onto(layer), x, wanted)


def test_rounding_of_small_kernels_is_near_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        rows = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
        gram = (rows.T @ rows)[None] + 2 * np.eye(4)
        target = rng.uniform(-20, 20, (1, 4, 1))
        held = Held(np.zeros_like(target, bool), np.zeros_like(target))
        found = least_squares.polished(least_squares.rounded(target, gram, held), target, gram, held)
        mine = least_squares.error(found - target, gram).item()
        reach = np.sqrt(mine * np.diag(np.linalg.inv(gram[0]))) * (1 + 1e-9)  # nothing farther off is as good
        ends = zip(target[0, :, 0] - reach, target[0, :, 0] + reach, strict=True)
        every = np.array(list(itertools.product(*(np.arange(np.ceil(low), np.floor(high) + 1) for low, high in ends))))
        best = least_squares.error(every.T[None] - target, gram).min()
        plain = least_squares.error(least_squares.nearest(target, held) - target, gram).item()
        shares.append((mine / best, plain / best))
    mean_mine, mean_plain = np.exp(np.log(shares).mean(0))
    assert mean_mine < 1.3
    assert mean_plain > 1.7


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1, 500, 150)) @ rng.normal(size=(1, 150, 150))
    gram = np.swapaxes(rows, 1, 2) @ rows
    target = rng.normal(0, 40, (1, 150, 5))
    held = Held(rng.random(target.shape) < 0.2, np.zeros_like(target))
    found = []
    for size in (64, 1, 1000):
        monkeypatch.setattr(least_squares, "_BLOCK", size)
        first = least_squares.rounded(target, gram, held)
        found.append((first, least_squares.polished(first, target, gram, held)))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_held_elements_keep_their_integers_and_no_integer_leaves_the_grid() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2, 500, 100)) @ rng.normal(size=(2, 100, 100))
    gram = np.swapaxes(rows, 1, 2) @ rows
    target = rng.normal(0, 80, (2, 100, 5))
    held = Held(rng.random(target.shape) < 0.2, rng.integers(-127, 128, target.shape).astype(float))
    first = least_squares.rounded(target, gram, held)
    second = least_squares.polished(first, target, gram, held)
    for found in (first, second):
        assert np.abs(found).max() <= 127
        np.testing.assert_array_equal(found, np.rint(found))
        np.testing.assert_array_equal(found[held.mask], held.integers[held.mask])
    assert (least_squares.error(second - target, gram) <= least_squares.error(first - target, gram)).all()


def test_other_layers_come_back_and_inputs_of_two_shapes_are_refused() -> None:
    x = correlated((4, *IMAGE))
    pool = Layer("pool", kl.MaxPooling2D, kl.MaxPooling2D().get_config(), {})
    assert rounding.refit(pool, x, x) is pool
    assert not rounding.takes(pool)
    with pytest.raises(ValueError, match="differ in shape"):
        rounding.refit(layer_of(kl.Conv2D(2, 3), IMAGE), x, x[:2])


def test_the_same_seed_gives_the_same_weights() -> None:
    layer = layer_of(kl.Conv2D(6, 3), IMAGE)
    x = correlated((200, *IMAGE))
    first, again = (rounding.refit(layer, x, x + np.float32(0.01), seed=4) for _ in range(2))
    assert all(np.array_equal(first.weights[name], again.weights[name]) for name in first.weights)


SURVIVORS = [
    (IMAGE, lambda: kl.Conv2D(6, 3, activation="relu")),
    (IMAGE, lambda: kl.Conv2D(6, 3, groups=2)),
    (IMAGE, lambda: kl.DepthwiseConv2D(3, depth_multiplier=2)),
    (IMAGE, lambda: kl.SeparableConv2D(6, 3)),
    (IMAGE, lambda: kl.Conv2DTranspose(5, 3, strides=2)),
    (ROWS, lambda: kl.Conv1D(5, 3)),
    ((7,), lambda: kl.Dense(5)),
    (ROWS, lambda: kl.Dense(5)),
]


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
@pytest.mark.parametrize(
    ("shape", "make", "size"),
    [*((*each, 1.0) for each in SURVIVORS), (*SURVIVORS[0], 3e-5), (*SURVIVORS[0], 7e4)],
    ids=[*(f"{number}-{type(make()).__name__}" for number, (_, make) in enumerate(SURVIVORS)), "small", "large"],
)
def test_the_artifact_holds_the_integers_that_were_chosen(shape: Any, make: Any, size: float, tmp_path: Path) -> None:
    made = make()
    layer = layer_of(made, shape)
    layer = layer._replace(weights={name: np.float32(size) * array for name, array in layer.weights.items()})
    x = correlated((30, *shape))
    fitted = rounding.refit(layer, x, x)
    given = tf_keras.Input(batch_shape=(1, *shape))
    model = tf_keras.Model(given, made(given))
    made.set_weights(list(fitted.weights.values()))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([sample[None]] for sample in x[:10])
    file = tmp_path / "layer.tflite"
    file.write_bytes(converter.convert())

    stored = weights.read(file)

    names = [name for name in KERNELS if name in fitted.weights]
    assert len(stored) == len(names)
    for name, found in zip(names, stored, strict=True):
        assert found.values.dtype == np.int8
        np.testing.assert_array_equal(found.values, _as_stored(layer, name, np.rint(integers(fitted, name))))
        nearest = _as_stored(layer, name, np.rint(integers(layer, name)))
        assert not np.array_equal(found.values, nearest)


def _as_stored(layer: Layer, name: str, array: Any) -> Any:
    """Integers in the axes that TensorFlow Lite has: output channels first, of depthwise kernels last."""
    if name == "depthwise_kernel":
        return array.reshape(1, *array.shape[:2], -1)
    if "Transpose" in layer.kind.__name__:
        return np.moveaxis(array, -2, 0)
    stored = np.moveaxis(array, -1, 0)
    return stored[:, None] if layer.kind.__name__ == "Conv1D" else stored
