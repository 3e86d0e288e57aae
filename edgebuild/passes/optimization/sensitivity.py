"""How much of each layer can go: the loss measured with one layer pruned at a time, and shares allocated by it.

Han et al. 2015, "Learning both weights and connections for efficient neural networks", section 5: layers differ in how
their pruning hurts, and each gets the threshold that it can bear.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tf_keras

from edgebuild.core.passes import Pattern, Prune
from edgebuild.passes.optimization.kernels import Kernel, copied, kernels
from edgebuild.passes.optimization.magnitude import prune_kernel
from edgebuild.passes.optimization.sparsity import Shares, shares

LEVELS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The shares of zeros that are tried."""


class Curve(NamedTuple):
    """What pruning one layer costs.

    Attributes:
        weights: of its kernel.
        losses: by the share of zeros, ascending; the first is what the network has as it is, at 0.
    """

    weights: int
    losses: Mapping[float, float]


class _Stretch(NamedTuple):
    """A part of a curve's lower hull: so many more zeros for so much more loss each."""

    slope: float
    layer: str
    zeros: float


def allocate(
    model: tf_keras.Model, settings: Prune, loss: Callable[[tf_keras.Model], float], levels: Sequence[float] = LEVELS
) -> Shares:
    """Shares of zeros for the layers that the settings prune, together as many as the settings ask for.

    Args:
        model: stays as it is.
        settings: which layers, how many zeros, in what pattern; layers they name keep the shares named.
        loss: of a model on a set of samples, the same each time.
        levels: ascending, above 0 and below 1.

    Raises:
        StepError: the structure of the model is not known, or the settings name a layer that it does not have.
    """
    uniform = shares(model, settings)
    free = [layer for layer in uniform if layer not in settings.layers]
    if settings.pattern == Pattern.TWO_OF_FOUR or not free:
        return uniform
    return {**uniform, **divide(measure(model, settings, free, loss, levels), settings.sparsity)}


def measure(
    model: tf_keras.Model,
    settings: Prune,
    layers: Sequence[str],
    loss: Callable[[tf_keras.Model], float],
    levels: Sequence[float] = LEVELS,
) -> dict[str, Curve]:
    """The loss with each of the layers pruned alone, at each of the levels.

    Args and errors as for `allocate`.
    """
    tried = copied(model)
    whole = loss(tried)
    curves = {}
    for kernel in kernels(tried):
        if kernel.layer in layers:
            losses = {level: _with_zeros(tried, kernel, level, settings, loss) for level in levels}
            curves[kernel.layer] = Curve(kernel.variable.shape.num_elements(), {0.0: whole, **losses})
    return curves


def divide(curves: Mapping[str, Curve], share: float) -> dict[str, float]:
    """Shares by layer that make up the overall one at the least sum of the losses that each was measured to cost.

    The lower convex hulls of the curves are filled in the order of their slopes, which is optimal where losses add up.

    Args:
        curves: by layer.
        share: of all these layers' weights together; no layer goes beyond its curve, even if that is less than asked.
    """
    wanted = share * sum(curve.weights for curve in curves.values())
    zeros = dict.fromkeys(curves, 0.0)
    for stretch in sorted(stretch for layer, curve in curves.items() for stretch in _hull(layer, curve)):
        taken = min(stretch.zeros, wanted)
        zeros[stretch.layer] += taken
        wanted -= taken
    return {layer: zeros[layer] / curve.weights for layer, curve in curves.items()}


def _with_zeros(model: tf_keras.Model, kernel: Kernel, level: float, settings: Prune, loss: Any) -> float:
    before = kernel.variable.numpy()
    prune_kernel(kernel, level, settings.pattern, settings.norm)
    measured = float(loss(model))
    kernel.variable.assign(before)
    return measured


def _hull(layer: str, curve: Curve) -> list[_Stretch]:
    """The lower convex hull of a curve, from left to right (Andrew 1979, monotone chain)."""
    points = sorted((level * curve.weights, loss) for level, loss in curve.losses.items())
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [_Stretch(_slope(left, right), layer, right[0] - left[0]) for left, right in itertools.pairwise(hull)]


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])
