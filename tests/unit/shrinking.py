"""A small network, its data, its training and its conversion, for tests of the passes that shrink networks."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import tf_keras
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from converting import converted
from sklearn.datasets import load_digits

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import weights
from edgebuild.flatbuffer.weights import Weights
from edgebuild.passes.loading import from_keras_model
from edgebuild.passes.optimization.kernels import kernels
from edgebuild.passes.training.loop import Hooks

layers = tf_keras.layers
WHOLE_INT8 = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False)
BATCH = 32
NO_HOOKS = Hooks()


class Data(NamedTuple):
    """Handwritten digits; the first 1,200 are for training."""

    x: Any
    y: Any

    @property
    def batches(self) -> list[list[Any]]:
        return [[self.x[start : start + 100]] for start in range(0, 400, 100)]


class Training:
    """A fit of a fixed number of steps. `seen` has what `watch` found after each of them."""

    def __init__(self, data: Data, steps: int, watch: Callable[[Any], float] = lambda _: 0.0) -> None:
        self._data, self._steps, self._watch = data, steps, watch
        self.seen: list[float] = []

    def steps(self, part: float = 1.0) -> int:
        return max(1, round(part * self._steps))

    def __call__(self, model: Any, *, hooks: Hooks = NO_HOOKS, part: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        model.compile(tf_keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        for step in range(self.steps(part)):
            model.optimizer.learning_rate.assign(2e-3 * (1 - step / self.steps(part)))
            rows = rng.integers(0, 1200, BATCH)
            hooks.before_step(step / self.steps(part))
            model.train_on_batch(self._data.x[rows], self._data.y[rows])
            hooks.after_step((step + 1) / self.steps(part))
            self.seen.append(self._watch(model))


def digits() -> Data:
    """scikit-learn's digits as images from 0 to 1."""
    digits = load_digits()
    return Data((digits.data.reshape(-1, 8, 8, 1) / 16).astype(np.float32), digits.target.astype(np.int32))


def untrained() -> Any:
    """A MobileNet-like network, with a layer of each kind that the passes treat in a way of its own."""
    tf_keras.utils.set_random_seed(0)
    x = given = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(momentum=0.9, name="stem_bn")(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization(momentum=0.9, name="depthwise_bn")(x))
    x = layers.Conv2D(32, 1, use_bias=False, name="first_wide")(x)
    x = layers.ReLU(6.0, name="first_wide_relu")(layers.BatchNormalization(momentum=0.9, name="first_wide_bn")(x))
    x = layers.Conv2D(64, 1, use_bias=False, name="second_wide")(x)
    x = layers.Activation("relu", name="second_wide_relu")(
        layers.BatchNormalization(momentum=0.9, name="second_wide_bn")(x)
    )
    x = layers.Conv2D(32, 1, name="narrow")(x)
    x = layers.ReLU(name="narrow_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    return tf_keras.Model(given, layers.Dense(10, activation="softmax", name="answer")(x), name="digits")


def trained_on(data: Data, shared: Path) -> Any:
    """The network after training, done once for all workers that share a folder."""
    kept = shared / "trained.npz"
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            np.savez(kept, *_trained_now(data).get_weights())
    model = untrained()
    with np.load(kept) as weights:
        model.set_weights(list(weights.values()))
    return model


def _trained_now(data: Data) -> Any:
    """Some scales of its batch normalizations are negative, one is zero."""
    model = untrained()
    Training(data, 400)(model)
    for name in ("first_wide_bn", "second_wide_bn"):
        norm = model.get_layer(name)
        norm.gamma.assign(norm.gamma * np.where(np.arange(norm.gamma.shape[0]) % 3, 1, -1))
    Training(data, 250)(model)
    model.get_layer("second_wide_bn").gamma.assign(model.get_layer("second_wide_bn").gamma * ([0] + [1] * 63))
    return model


class Artifacts:
    """Converts as a build does."""

    def __init__(self, folder: Path, data: Data) -> None:
        self._folder, self._samples = folder, data.x[:100]
        self._count = 0

    def __call__(self, model: Any, **how: Any) -> Path:
        self._count += 1
        settings = msgspec.structs.replace(WHOLE_INT8, **how)
        return converted(from_keras_model(model), [self._samples], settings, self._folder / str(self._count))


def by_layer(path: Path) -> dict[str, Weights]:
    """The weights of an artifact of that network."""
    names = ["stem", "depthwise", "first_wide", "second_wide", "narrow", "hidden", "answer"]
    return dict(zip(names, weights.read(path), strict=True))


def zeros_of(model: Any) -> dict[str, float]:
    return {kernel.layer: float((kernel.variable.numpy() == 0).mean()) for kernel in kernels(model)}


def unique_of(model: Any) -> dict[str, int]:
    return {kernel.layer: len(np.unique(kernel.variable.numpy())) for kernel in kernels(model)}


def kernel_of(model: Any, layer: str) -> Any:
    return next(kernel.variable for kernel in kernels(model) if kernel.layer == layer)


def outputs_of(path: Path, x: Any, resolver: Any = OpResolverType.BUILTIN) -> Any:
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = entry["quantization"]
    results = []
    for sample in x:
        stored = np.clip(np.round(sample / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], stored[np.newaxis])
        interpreter.invoke()
        results.append(interpreter.get_tensor(end["index"])[0])
    return np.stack(results)


def accuracy_of(path: Path, data: Data) -> float:
    return float((outputs_of(path, data.x[1200:1600]).argmax(axis=1) == data.y[1200:1600]).mean())
