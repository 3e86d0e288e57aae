"""Weight pruning: gradually while the network is trained, or at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from edgebuild.core.passes import Pattern, Prune, Schedule
from edgebuild.errors import StepError
from edgebuild.passes.optimization import masks, tfmot
from edgebuild.passes.optimization.kernels import copied, ends, kernels
from edgebuild.passes.optimization.magnitude import TWO_OF_FOUR_SHARE, PatternedPruning, has_whole_blocks, prune_kernel
from edgebuild.passes.training.hooks import Fit, Hooks

Shares = Mapping[str, float]
"""For each layer that is pruned the share of zeros in its kernel."""

# tfmot takes shares below one; the last weight of a kernel has to stay anyway.
_MOST = 0.999
# Steps from one update of the masks to the next, as tfmot's schedule counts them: see _Turns.
_FREQUENCY = 2


def shares(model: tf_keras.Model, settings: Prune) -> Shares:
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
        fits = has_whole_blocks(kernel, settings.pattern)
        usual = 0.0 if small or not fits or kernel.layer in kept else settings.sparsity
        share = min(settings.layers.get(kernel.layer, usual), _MOST)
        if share > 0:
            planned[kernel.layer] = TWO_OF_FOUR_SHARE if settings.pattern == Pattern.TWO_OF_FOUR else share
    return planned


def prune_now(model: tf_keras.Model, settings: Prune, planned: Shares | None = None) -> tf_keras.Model:
    """A pruned copy of a model, without training.

    Args:
        model: stays as it is.
        settings: pattern, norm and which layers.
        planned: shares by layer, from `sensitivity.allocate` say; those of the settings where None.

    Raises:
        StepError: the structure of the model is not known, or the settings name a layer that it does not have.
    """
    pruned = copied(model)
    _prune(pruned, settings, shares(pruned, settings) if planned is None else planned)
    return pruned


def prune(model: tf_keras.Model, settings: Prune, fit: Fit, planned: Shares | None = None) -> tf_keras.Model:
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
    ramp = settings.end if gradual and planned else 0.0
    if ramp > 0:
        current = _ramped(current, settings, planned, fit)
    _prune(current, settings, planned)
    if ramp < 1:
        fit(current, hooks=masks.keep(current, masks.masks_of(current)), part=1.0 - ramp)
    return current


def _prune(model: tf_keras.Model, settings: Prune, planned: Shares) -> None:
    for kernel in kernels(model):
        if kernel.layer in planned:
            prune_kernel(kernel, planned[kernel.layer], settings.pattern, settings.norm)


def _ramped(model: tf_keras.Model, settings: Prune, planned: Shares, fit: Fit) -> tf_keras.Model:
    """The model after the part of the training in which the share of zeros rises."""

    def wrapped(layer: Any) -> Any:
        if layer.name not in planned:
            return layer
        schedule = tfmot.PolynomialDecay(
            initial_sparsity=min(settings.initial, planned[layer.name]),
            final_sparsity=planned[layer.name],
            begin_step=1,
            end_step=1 + _FREQUENCY * (settings.updates - 1),
            power=settings.power,
            frequency=_FREQUENCY,
        )
        return PatternedPruning(layer, pattern=settings.pattern, norm=settings.norm, pruning_schedule=schedule)

    pruned = tf_keras.models.clone_model(model, clone_function=wrapped)
    wrappers = [layer for layer in pruned.layers if isinstance(layer, PatternedPruning)]
    turns = _Turns(settings.updates)

    def before() -> None:
        for wrapper in wrappers:
            wrapper.pruning_step.assign(turns.step)

    def remask() -> None:
        for wrapper in wrappers:
            wrapper.pruning_obj.weight_mask_op()

    assign, mask = (tf.function(function, autograph=False) for function in (before, remask))

    def before_step(done: float) -> None:
        turns.go(done)
        assign()

    fit(pruned, hooks=Hooks(before_step=before_step, after_step=lambda _: mask(), settled_from=1.0), part=settings.end)
    return copied(tfmot.strip_pruning(pruned))


class _Turns:
    """tfmot's count of steps, as it would be if the training had two for each update of the masks.

    tfmot's schedule asks for the number of steps, which is not known before their speed is: the share of the training
    that is done decides when masks are updated.

    Attributes:
        step: the count before the step of the training that comes next, an int64 variable; tfmot adds one and updates
            the masks where that is odd.
    """

    def __init__(self, updates: int) -> None:
        self.step = tf.Variable(0, dtype=tf.int64)
        self._updates, self._last = updates, -1

    def go(self, done: float) -> None:
        """A share of the training is done: the masks are updated now, if it is time for the next update."""
        turn = min(int(done * self._updates), self._updates - 1)
        self.step.assign(_FREQUENCY * turn + int(turn == self._last))
        self._last = turn


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
