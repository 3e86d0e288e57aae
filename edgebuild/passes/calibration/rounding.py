"""Kernels rounded so that what a layer makes changes least, onto grids that the TFLite converter finds again.

The converter (TensorFlow 2.21) quantizes the kernels of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV
alike: symmetric, by output channel, with a step of max|w| / 127. A channel of integers times a step of which one is 127
or -127 comes out as those integers, therefore; how exactly max|w| / 127 is the step does not matter: rounding goes
astray only when it is wrong by more than 0.5 / 127.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tf_keras

from edgebuild.passes.calibration import least_squares, patches
from edgebuild.passes.calibration.least_squares import MOST, Held
from edgebuild.passes.calibration.patches import Rows
from edgebuild.passes.graph.ir import Layer

Array = npt.NDArray[Any]

_CLIPS = tuple(1 - 0.02 * number for number in range(16))  # of max|w|: the largest value of the grid
_DAMPING = 0.01  # as GPTQ has it
_WIDEST = 6144  # inputs to an output; the Gram matrix of more would take hundreds of MB
_LARGE = 2e10  # multiplications for trying all clippings by the Gram matrix
_ALTERNATIONS = 2
_SWEEPS = 8  # in each of these
_PROMISING = 3  # clippings that are tried with adaptive rounding
# Of kernels with more inputs to an output single changes gain a tenth of a decibel, in time that grows with the square.
_WIDE = 256
_WIDE_SWEEPS = 2
# The converter widens ranges that are narrower than 1e-6: channels so small get no grid of their own.
_LEAST = 1e-6
_PART = 2**22  # elements of a kernel that are dealt with at a time where there is no Gram matrix


class _Problem(NamedTuple):
    """What integers are looked for: those near `target` by the measure of `gram`, with zeros where `zeros` is True."""

    target: Array
    gram: Array
    zeros: Array


def takes(layer: Layer) -> bool:
    """Whether `refit` knows the class of a layer."""
    return patches.takes(layer) or _is_separable(layer)


def refit(
    layer: Layer,
    exact: Array,
    given: Array,
    *,
    adaptive: bool = True,
    clip: bool = True,
    correct: bool = True,
    seed: int = 0,
) -> Layer:
    """The layer with its kernel on the converter's grid, so that it makes of `given` what it made of `exact` before.

    What is kept is the output before the activation, whether or not that is part of the layer. A channel of the new
    kernel is q * s in float32 with whole q, max|q| = 127, and the converter stores q. Zeros stay zeros; channels of
    which all weights are smaller than about 1e-6 stay as they are. Of a separable convolution both kernels are fitted,
    the second to what the first makes then. Where an output sees more than 6,144 inputs their Gram matrix is too large:
    such a kernel is rounded to nearest, clipped by the energy of its inputs alone.

    Args:
        layer: of a class that `takes` knows; others come back as they are.
        exact: its inputs in the float network, [n, ...].
        given: its inputs in the quantized network, of the same shape.
        adaptive: whether the kernel is corrected for the difference of its inputs (least squares), and rounded so that
            elements make up for each other's errors (GPTQ); otherwise each is rounded to nearest.
        clip: whether the largest weights may be clipped where that lowers the error.
        correct: whether the bias takes the difference of the means; layers without a bias get none.
        seed: of the rows that are sampled from the inputs.

    Raises:
        ValueError: the inputs differ in shape.
    """
    if exact.shape != given.shape:
        raise ValueError("inputs of the two networks differ in shape")
    if _is_separable(layer):
        return _separable(layer, exact, given, adaptive=adaptive, clip=clip, correct=correct, seed=seed)
    if not patches.takes(layer):
        return layer
    rows = patches.sampled(layer, exact, given, seed=seed)
    return _refit(layer, rows, adaptive=adaptive, clip=clip, correct=correct, seed=seed)


def _refit(layer: Layer, rows: Rows, *, adaptive: bool, clip: bool, correct: bool, seed: int) -> Layer:
    kernel = patches.kernel(layer)
    has_bias = correct and "bias" in layer.weights
    clips = _CLIPS if clip else _CLIPS[:1]
    if kernel.shape[1] > _WIDEST:
        fitted = _by_energy(rows.given, kernel, clips, centred=has_bias)
    else:
        fitted = _by_gram(rows, kernel, clips, adaptive=adaptive, centred=has_bias, seed=seed)
    is_fitted = np.abs(kernel).max(1, keepdims=True) * min(clips) >= _LEAST
    fitted = np.where(is_fitted, fitted, kernel).astype(np.float32)
    result = patches.with_kernel(layer, fitted)
    if not has_bias:
        return result
    bias = layer.weights["bias"]
    means = [array.mean(1, keepdims=True, dtype=np.float64) for array in (rows.exact, rows.given)]
    shift = (means[0] @ kernel - means[1] @ fitted).reshape(bias.shape)
    return result._replace(weights={**result.weights, "bias": np.asarray(bias + shift, bias.dtype)})


def _separable(layer: Layer, exact: Array, given: Array, **how: Any) -> Layer:
    """Both kernels of a separable convolution; its second has one tap, so that rows of the first's outputs are its."""
    deep, point = _parts(layer)
    rows = patches.sampled(deep, exact, given, seed=how["seed"])
    fitted = _refit(deep, rows, **how)
    middle = [
        np.moveaxis(array @ patches.kernel(part), 0, 1).reshape(1, len(rows.samples), -1)
        for array, part in ((rows.exact, deep), (rows.given, fitted))
    ]
    mixed = _refit(point, Rows(middle[0], middle[1], rows.samples), **how)
    weights = {"depthwise_kernel": fitted.weights["depthwise_kernel"], "pointwise_kernel": mixed.weights["kernel"]}
    return layer._replace(weights={**layer.weights, **weights, **_bias_of(mixed)})


def _parts(layer: Layer) -> tuple[Layer, Layer]:
    """A separable convolution as the two that it consists of; the bias is the second's."""
    is_flat = layer.kind.__name__ == "SeparableConv1D"
    deep = tf_keras.layers.DepthwiseConv1D if is_flat else tf_keras.layers.DepthwiseConv2D
    point = tf_keras.layers.Conv1D if is_flat else tf_keras.layers.Conv2D
    single = {"strides": 1, "dilation_rate": 1, "padding": "valid"}
    kernels = layer.weights["depthwise_kernel"], layer.weights["pointwise_kernel"]
    return (
        Layer(layer.name, deep, layer.config, {"depthwise_kernel": kernels[0]}),
        Layer(layer.name, point, {**layer.config, **single}, {"kernel": kernels[1], **_bias_of(layer)}),
    )


def _bias_of(layer: Layer) -> dict[str, Array]:
    return {name: array for name, array in layer.weights.items() if name == "bias"}


def _is_separable(layer: Layer) -> bool:
    is_known = layer.kind.__name__ in {"SeparableConv1D", "SeparableConv2D"}
    return is_known and layer.config.get("data_format") != "channels_first"


def _by_gram(rows: Rows, kernel: Array, clips: tuple[float, ...], *, adaptive: bool, centred: bool, seed: int) -> Array:
    if adaptive:
        target, measured = least_squares.corrected(rows, kernel, centred=centred, seed=seed)
    else:
        target, measured = kernel, least_squares.gram(least_squares.centre(rows.given) if centred else rows.given)
    matrix = least_squares.damped(measured, _DAMPING)
    problem = _Problem(target.astype(matrix.dtype), matrix, kernel == 0)
    plain = _Problem(kernel.astype(matrix.dtype), matrix, kernel == 0)
    best = _best(_candidates(plain, clips), problem)
    if not adaptive:
        return best
    return _refined(_best(chain([best], _rounded(problem, clips)), problem), problem)


def _candidates(problem: _Problem, clips: tuple[float, ...]) -> Iterator[Array]:
    """The target rounded to the nearest with each clipping; large ones without and with the best by energy alone."""
    groups, width, channels = problem.target.shape
    if groups * width**2 * channels * len(clips) <= _LARGE:
        yield from (_on_grid(problem, clip, adaptive=False) for clip in clips)
        return
    yield _on_grid(problem, 1.0, adaptive=False)
    yield _on_grid(problem, _by_energy_alone(problem, clips)[0], adaptive=False)


def _rounded(problem: _Problem, clips: tuple[float, ...]) -> Iterator[Array]:
    """The target rounded adaptively, without clipping and with those that promise most, all in one go.

    What rounding to the nearest loses by energy alone tells which these are, channel by channel.
    """
    tried = [np.ones_like(problem.target[:, 0]), *_by_energy_alone(problem, clips)[:_PROMISING]][
        : 2 if _is_wide(problem) else len(clips)
    ]
    count, channels = len(tried), problem.target.shape[2]
    side_by_side = _Problem(np.tile(problem.target, count), problem.gram, np.tile(problem.zeros, count))
    done = _on_grid(side_by_side, np.concatenate(tried, 1), adaptive=True)
    yield from (done[:, :, number * channels : (number + 1) * channels] for number in range(count))


def _by_energy_alone(problem: _Problem, clips: tuple[float, ...]) -> Array:
    """Clippings of each channel, [clips, groups, channels], best first, as if inputs were independent."""
    energy = np.einsum("gkk->gk", problem.gram)[:, :, None]
    rounded = (_on_grid(problem, clip, adaptive=False) for clip in clips)
    errors = np.stack([least_squares.error(each - problem.target, energy) for each in rounded])
    return np.asarray(np.asarray(clips, problem.target.dtype)[errors.argsort(0, kind="stable")])


def _on_grid(problem: _Problem, clip: float | Array, *, adaptive: bool) -> Array:
    """The kernel on the grid of which the largest value is `clip` times the target's, one for all channels or each."""
    largest = np.abs(problem.target).max(1) * clip
    step = np.where(largest > 0, largest / MOST, 1)[:, None]
    wanted = problem.target / step
    held = _held(wanted, problem.zeros)
    integers = least_squares.rounded(wanted, problem.gram, held) if adaptive else least_squares.nearest(wanted, held)
    return integers * step


def _held(wanted: Array, zeros: Array) -> Held:
    """Zeros, and the largest element of each channel at 127 or -127, from which the converter has the step."""
    integers: Array = np.zeros_like(wanted)
    largest = np.abs(wanted).argmax(1)[:, None]
    signs = np.sign(np.take_along_axis(wanted, largest, 1))
    np.put_along_axis(integers, largest, signs * MOST, 1)
    return Held(zeros | (integers != 0), integers)


def _best(candidates: Iterable[Array], problem: _Problem) -> Array:
    """Channel by channel the candidate with the least error, the first of equal ones."""
    best = problem.target
    least: Array = np.full((len(best), 1, best.shape[2]), np.inf)
    for each in candidates:
        error = least_squares.error(each - problem.target, problem.gram)[:, None]
        best, least = np.where(error < least, each, best), np.minimum(error, least)
    return best


def _refined(kernel: Array, problem: _Problem) -> Array:
    """A kernel on its grid with the best step for its integers, and better integers for that step, in turns.

    The converter takes any step, so that it need not be what the largest weight gave: a tenth of the error on the
    keyword-spotting network.
    """
    alternations, sweeps = (1, _WIDE_SWEEPS) if _is_wide(problem) else (_ALTERNATIONS, _SWEEPS)
    for _ in range(alternations):
        image = problem.gram @ kernel
        energy = (kernel * image).sum(1, keepdims=True)
        share = (problem.target * image).sum(1, keepdims=True)
        factor = np.divide(share, energy, out=np.ones_like(energy), where=(energy > 0) & (share > 0))
        largest = np.abs(kernel).max(1, keepdims=True)
        step = np.where(largest > 0, largest * factor / MOST, 1)
        integers, wanted = np.rint(kernel * factor / step), problem.target / step
        held = Held(problem.zeros | (np.abs(integers) == MOST), integers)
        kernel = _best([kernel, least_squares.polished(integers, wanted, problem.gram, held, sweeps) * step], problem)
    return kernel


def _is_wide(problem: _Problem) -> bool:
    return bool(problem.target.shape[1] > _WIDE)


def _by_energy(given: Array, kernel: Array, clips: tuple[float, ...], *, centred: bool) -> Array:
    """Rounding to nearest, the clipping chosen as if no two inputs had to do with each other."""
    energy = np.square(least_squares.centre(given) if centred else given).mean(1)[:, :, None]
    parts = math.ceil(kernel.size / _PART)
    return np.concatenate([_clipped(part, energy, clips) for part in np.array_split(kernel, parts, 2)], 2)


def _clipped(kernel: Array, energy: Array, clips: tuple[float, ...]) -> Array:
    problem = _Problem(kernel, energy, kernel == 0)
    return _best((_on_grid(problem, clip, adaptive=False) for clip in clips), problem)
