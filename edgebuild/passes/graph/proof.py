"""Proof that a network was changed without changing what it computes: both are fed the same, and must agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes.graph.building import build
from edgebuild.passes.graph.ir import Graph, Input

Array = npt.NDArray[Any]
Function = Callable[..., Sequence[Any]]

# Float32 carries 24 bits, 6e-8; sums over thousands of products in another order, layer after layer, differ by some
# hundred times that. A wrong weight, axis or padding differs by more than a hundredth.
TOLERANCE = 1e-5
# Inputs as small as normalised features and as large as raw pixels: saturating activations hide differences in one
# range, biases in another.
_MAGNITUDES = (0.1, 1.0, 10.0, 100.0)
# What rounding does to sums of products is like weights that are wrong by this share, each by itself. A softmax over
# large logits makes much of it where two are all but equal: outputs may lie so many times as far apart as that makes
# them, though not by what a wrong weight would.
_ROUNDING, _TIMES, _MOST = 2.0**-22, 8.0, 3e-3
_SAMPLES = 3
_INTEGERS = 16  # below this, where no layer bounds them
_BOUNDS = {"Embedding": "input_dim", "CategoryEncoding": "num_tokens"}
_SAME_VALUES = frozenset({"Reshape", "Flatten", "Permute", "RepeatVector", "Activation", "Masking", "TFOpLambda"})


def require_equal(original: Function, graph: Graph, *, seed: int, tolerance: float = TOLERANCE) -> float:
    """Feed random inputs to a network and to a graph made from it.

    Args:
        original: takes the inputs as positional tensors, as `loading.Network.call` does, and returns the outputs.
        graph: with inputs of the same order, shapes and dtypes.
        seed: of the inputs.
        tolerance: how far outputs may lie apart, as a share of the output's largest absolute value, and at least of 1;
            further where the graph itself makes as much of rounding.

    Returns:
        The largest difference, relative to that.

    Raises:
        StepError: the outputs differ in number, shape or value; which one, by how much, and on inputs of what size.
    """
    model = build(graph)
    rng = np.random.default_rng(seed)
    worst = 0.0
    for magnitude in _MAGNITUDES:
        inputs = [tf.constant(array) for array in draw(graph, rng, magnitude=magnitude)]
        expected = [np.asarray(item) for item in original(*inputs)]
        actual = outputs_of(model, inputs)
        gap = _largest_difference(graph.name, expected, actual)
        if not gap <= tolerance and not gap <= min(_TIMES * _by_rounding(model, inputs, actual, rng), _MOST):
            raise StepError(
                f"the network {graph.name} does not compute the same after it was rewritten",
                f"On random inputs of about {magnitude:g} its outputs differ by {gap:.2g} of their largest value.",
                "Please report this with the network.",
            )
        worst = max(worst, gap)
    return worst


def _by_rounding(
    model: tf_keras.Model, inputs: Sequence[Any], exact: Sequence[Array], rng: np.random.Generator
) -> float:
    """How far a model's outputs lie apart from those that it has with weights as wrong as rounding makes products."""
    weights = model.get_weights()
    model.set_weights([_rounded(array, rng) for array in weights])
    moved = outputs_of(model, inputs)
    model.set_weights(weights)
    return max(map(difference, exact, moved), default=0.0)


def _rounded(array: Array, rng: np.random.Generator) -> Array:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return (array * (1 + _ROUNDING * rng.normal(size=array.shape))).astype(array.dtype)


def outputs_of(model: tf_keras.Model, inputs: Sequence[Any]) -> list[Array]:
    """The outputs of a model that is not training, in order."""
    results = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [np.asarray(item) for item in tf.nest.flatten(results)]


def draw(graph: Graph, rng: np.random.Generator, *, magnitude: float = 1.0) -> list[Array]:
    """Random inputs for a network: some samples, normally distributed, or integers that its layers accept."""
    return [_draw(graph, item, rng, magnitude) for item in graph.inputs]


def _draw(graph: Graph, item: Input, rng: np.random.Generator, magnitude: float) -> Array:
    known = graph.tensors[item.tensor]
    inner = [size for size in known.shape[1:] if size is not None]
    if len(inner) != len(known.shape) - 1:
        raise StepError(
            f"the network's input {item.name} leaves dimensions open: {list(known.shape)}",
            "Without them it cannot be tried out.",
            "Fix them in edgebuild.toml, without the batch: [model] input_shape = [224, 224, 3].",
        )
    shape, kind = (known.shape[0] or _SAMPLES, *inner), tf.dtypes.as_dtype(known.dtype)
    bound = _bound(graph, item.tensor)
    if kind == tf.string:
        raise StepError(f"the network's input {item.name} takes text", "TensorFlow Lite has no layers that read it.")
    if kind.is_floating and bound is None:
        return (rng.normal(size=shape) * magnitude).astype(kind.as_numpy_dtype)
    if kind.is_bool:
        return rng.random(shape) < 0.5
    return rng.integers(0, bound or _INTEGERS, shape).astype(kind.as_numpy_dtype)


def _bound(graph: Graph, tensor: int) -> int | None:
    """How many different integers an input may be, by the layers that look things up by it."""
    consumers, found, waiting = graph.consumers(), [], [tensor]
    while waiting:
        for call in consumers[waiting.pop()]:
            layer = graph.layers[call.layer]
            word = layer.kind.__name__
            if word in _BOUNDS:
                found.append(int(layer.config[_BOUNDS[word]]))
            elif word in _SAME_VALUES:
                waiting.extend(call.outputs)
    return min(found, default=None)


def _largest_difference(name: str, expected: Sequence[Array], actual: Sequence[Array]) -> float:
    shapes = [[array.shape for array in arrays] for arrays in (expected, actual)]
    if shapes[0] != shapes[1]:
        raise StepError(
            f"the network {name} has other outputs after it was rewritten", f"Shapes {shapes[1]}, not {shapes[0]}."
        )
    return max((difference(one, other) for one, other in zip(expected, actual, strict=True)), default=0.0)


def difference(expected: Array, actual: Array) -> float:
    """The largest difference of two arrays, as a share of the largest absolute value, and at least of 1.

    What is not finite must be the same in both; otherwise the difference is infinite.
    """
    one, other = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return float("inf")
    largest = float(np.abs(one[finite]).max(initial=1.0))
    gap = float(np.abs(one[finite] - other[finite]).max(initial=0.0)) / largest
    return gap if np.isfinite(gap) else float("inf")
