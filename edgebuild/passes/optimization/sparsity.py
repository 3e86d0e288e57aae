"""Weight pruning: gradually while the network is trained, or at once."""

from __future__ import annotations

from collections.abc import Mapping

import tf_keras

from edgebuild.core.passes import Pattern, Prune, Schedule
from edgebuild.errors import StepError
from edgebuild.passes.optimization import masks
from edgebuild.passes.optimization.kernels import copied, ends, kernels
from edgebuild.passes.optimization.magnitude import has_whole_blocks, prune_kernel
from edgebuild.passes.training.hooks import Fit, Hooks

Shares = Mapping[str, float]
"""For each layer that is pruned the share of zeros in its kernel."""

# tfmot takes shares below one; the last weight of a kernel has to stay anyway.
_MOST = 0.999


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
            planned[kernel.layer] = settings.zeros if settings.pattern == Pattern.TWO_OF_FOUR else share
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
    if not gradual or not planned or settings.end <= 0:
        _prune(current, settings, planned)
        fit(current, hooks=masks.keep(current, masks.masks_of(current)))
        return current
    fit(current, hooks=_gradual(current, settings, planned))
    _prune(current, settings, planned)
    return current


def _prune(model: tf_keras.Model, settings: Prune, planned: Shares) -> None:
    for kernel in kernels(model):
        if kernel.layer in planned:
            prune_kernel(kernel, planned[kernel.layer], settings.pattern, settings.norm)


def _gradual(model: tf_keras.Model, settings: Prune, planned: Shares) -> Hooks:
    """Hooks that prune a model more and more until a share of its training is done, and keep the zeros after that."""
    kept = masks.Kept(model)
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
