"""Weight pruning by magnitude: how much of each layer goes, gradually while the network is trained, or at once.

Han et al. 2015, "Learning both weights and connections for efficient neural networks", section 5: layers differ in how
their pruning hurts, and each gets the threshold that it can bear.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from edgebuild.core.passes import Norm, Pattern, Prune, Schedule
from edgebuild.errors import StepError
from edgebuild.passes.optimization import tfmot
from edgebuild.passes.optimization.kernels import Kept, Kernel, copied, ends, keep_masks, kernels, masks_of
from edgebuild.passes.training.loop import Fit, Hooks

_Shares = Mapping[str, float]
"""For each layer that is pruned the share of zeros in its kernel."""

# tfmot takes shares below one; the last weight of a kernel has to stay anyway.
_MOST = 0.999
_BLOCKS = {Pattern.BLOCK_1X4: (1, 4), Pattern.BLOCK_4X4: (4, 4)}
_TWO_OF_FOUR = (2, 4)
LEVELS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def shares(model: tf_keras.Model, settings: Prune) -> _Shares:
    """The share of zeros that each layer is to have; layers that stay dense are not in it.

    Raises:
        StepError: a layer is named that the network does not have or that has no kernel, or a share is out of range.
    """
    found = kernels(model)
    if settings.sparsity >= 1:
        raise StepError("every weight would be pruned", "sparsity is 100 %.")
    _require_known(settings.layers, [kernel.layer for kernel in found])
    first, last = ends(model)
    kept = (frozenset() if settings.first else first) | (frozenset() if settings.last else last)
    planned: dict[str, float] = {}
    for kernel in found:
        small = kernel.variable.shape.num_elements() < settings.smallest
        fits = _has_whole_blocks(kernel, settings.pattern)
        usual = 0.0 if small or not fits or kernel.layer in kept else settings.sparsity
        share = min(settings.layers.get(kernel.layer, usual), _MOST)
        if share > 0:
            planned[kernel.layer] = settings.zeros if settings.pattern == Pattern.TWO_OF_FOUR else share
    return planned


def prune_now(model: tf_keras.Model, settings: Prune, planned: _Shares | None = None) -> tf_keras.Model:
    """A pruned copy of a model, without training.

    Args:
        model: stays as it is.
        settings: pattern, norm and which layers.
        planned: shares by layer, from `allocate` say; those of the settings where None.

    Raises:
        StepError: the structure of the model is not known, or the settings name a layer that it does not have.
    """
    pruned = copied(model)
    _prune(pruned, settings, shares(pruned, settings) if planned is None else planned)
    return pruned


def prune(model: tf_keras.Model, settings: Prune, fit: Fit, planned: _Shares | None = None) -> tf_keras.Model:
    """A pruned copy of a model, trained.

    With a polynomial schedule the share of zeros rises during the first part of the training (Zhu and Gupta 2017,
    section 3); then, and with a constant one from the start, the weights that are left recover. A training that was cut
    short still leaves all zeros that were asked for.

    Args:
        model: stays as it is.
        settings: what is pruned and how.
        fit: trains.
        planned: as for `prune_now`.

    Raises:
        StepError: as for `prune_now`.
    """
    current = copied(model)
    planned = shares(current, settings) if planned is None else planned
    gradual = settings.schedule == Schedule.POLYNOMIAL and settings.pattern != Pattern.TWO_OF_FOUR
    if not gradual or not planned or settings.end <= 0:
        _prune(current, settings, planned)
        fit(current, hooks=keep_masks(current, masks_of(current)))
        return current
    fit(current, hooks=_gradual(current, settings, planned))
    _prune(current, settings, planned)
    return current


def _prune(model: tf_keras.Model, settings: Prune, planned: _Shares) -> None:
    for kernel in kernels(model):
        if kernel.layer in planned:
            _prune_kernel(kernel, planned[kernel.layer], settings.pattern, settings.norm)


def _gradual(model: tf_keras.Model, settings: Prune, planned: _Shares) -> Hooks:
    """Hooks that prune a model more and more until a share of its training is done, and keep the zeros after that."""
    kept = Kept(model)
    last = -1

    def after_step(done: float) -> None:
        nonlocal last
        turn = min(int(done / settings.end * settings.updates), settings.updates)
        if turn > last:
            rest = (1 - turn / settings.updates) ** settings.power
            _prune(model, settings, {layer: _between(settings.initial, end, rest) for layer, end in planned.items()})
            kept.look()
            last = turn
        kept.apply()

    return Hooks(after_step=after_step, settled_from=settings.end)


def _between(start: float, end: float, rest: float) -> float:
    """The share of zeros of which `rest` of the way from start to end is yet to come."""
    return end + (min(start, end) - end) * rest


def _require_known(layers: Mapping[str, float], known: list[str]) -> None:
    unknown = [name for name in layers if name not in known]
    if unknown:
        raise StepError(
            f"there is no kernel to prune in {', '.join(unknown)}",
            f"Layers with one: {', '.join(known)}.",
        )
    wrong = [name for name, share in layers.items() if not 0 <= share < 1]
    if wrong:
        raise StepError(f"the sparsity of {', '.join(wrong)} is out of range", "It is a share from 0 up to below 1.")


def _has_whole_blocks(kernel: Kernel, pattern: Pattern) -> bool:
    """Whether a pattern's blocks divide a kernel; where some hang over, their share of it is not what was asked."""
    *_, inputs, outputs = kernel.variable.shape
    if kernel.transposed:
        inputs, outputs = outputs, inputs
    rows, columns = _BLOCKS.get(pattern, (1, 1))
    return bool(outputs % rows == 0 and inputs % columns == 0)


def _prune_kernel(kernel: Kernel, share: float, pattern: Pattern, norm: Norm) -> None:
    """Set the weights of the least magnitude to zero, at once.

    Args:
        kernel: changed in place; weights that are zero already count among the least.
        share: of weights (of blocks, where the pattern has blocks) to be zero, below 1; 2:4 has its own.
        pattern: as in the artifact.
        norm: by which blocks are ranked.
    """
    mask = tf.Variable(tf.ones_like(kernel.variable), trainable=False)
    threshold = tf.Variable(0.0, trainable=False)
    pruning = _pruning(
        lambda: tf.constant(1, tf.int64),
        [(kernel.variable, mask, threshold)],
        tfmot.ConstantSparsity(share, begin_step=1, frequency=1),
        pattern,
        norm,
        transposed=kernel.transposed,
    )
    pruning.conditional_mask_update()
    pruning.weight_mask_op()


def _pruning(step: Any, weights: Any, schedule: Any, pattern: Pattern, norm: Norm, *, transposed: bool) -> Any:
    if pattern in _BLOCKS:
        return _BlockPruning(step, weights, schedule, block=_BLOCKS[pattern], norm=norm, transposed=transposed)
    m_by_n = _TWO_OF_FOUR if pattern == Pattern.TWO_OF_FOUR else None
    return tfmot.Pruning(step, weights, schedule, (1, 1), "AVG", m_by_n)


class _BlockPruning(tfmot.Pruning):  # type: ignore[misc]
    """tfmot's pruning with blocks over the output and the input channels of kernels of any rank.

    tfmot itself takes blocks for matrices alone, and lays them as Keras stores these, inputs first, where an artifact
    has them last.
    """

    def __init__(
        self, step: Any, weights: Any, schedule: Any, *, block: tuple[int, int], norm: Norm, transposed: bool
    ) -> None:
        super().__init__(step, weights, schedule, (1, 1), "AVG")
        self._block, self._norm, self._transposed = block, norm, transposed

    def _maybe_update_block_mask(self, weights: Any) -> tuple[Any, Any]:
        outputs_first = self._swapped(weights)
        power = 2 if self._norm == Norm.L2 else 1
        magnitudes = _pooled(tf.abs(outputs_first) ** power, self._block)
        threshold, mask = self._update_mask(magnitudes)
        return threshold, self._swapped(_spread(mask, self._block, outputs_first.shape))

    def _swapped(self, kernel: Any) -> Any:
        """[..., channels out, channels in] from Keras' order, and back."""
        rank = kernel.shape.rank
        return kernel if self._transposed else tf.transpose(kernel, [*range(rank - 2), rank - 1, rank - 2])


def _pooled(magnitudes: Any, block: tuple[int, int]) -> Any:
    """The sums over blocks of the last two axes; one at the edge may have fewer entries."""
    rows, columns = block
    *outer, height, width = magnitudes.shape
    padding = [[0, 0]] * len(outer) + [[0, -height % rows], [0, -width % columns]]
    padded = tf.pad(magnitudes, padding)
    split = tf.reshape(padded, [*outer, padded.shape[-2] // rows, rows, padded.shape[-1] // columns, columns])
    return tf.reduce_sum(split, axis=[-3, -1])


def _spread(mask: Any, block: tuple[int, int], shape: Any) -> Any:
    """A mask of blocks as one of weights."""
    spread = tf.repeat(tf.repeat(mask, block[0], axis=-2), block[1], axis=-1)
    return spread[..., : shape[-2], : shape[-1]]


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
) -> _Shares:
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
    _prune_kernel(kernel, level, settings.pattern, settings.norm)
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
