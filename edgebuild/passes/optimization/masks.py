"""Masks: which weights were pruned, found from a network itself, and kept zero while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edgebuild.passes.optimization.kernels import kernels
from edgebuild.passes.training.hooks import Hooks

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""For each pruned layer the shape of its kernel, True where a weight is left."""

# Trained weights are hardly ever exactly zero; fewer zeros than this are no pruning.
_FEWEST = 0.01


def masks_of(model: tf_keras.Model) -> Masks:
    """The masks of all kernels that hold zeros; one that is all zeros (new, say) was not pruned."""
    found = {kernel.layer: kernel.variable.numpy() != 0 for kernel in kernels(model)}
    return {layer: mask for layer, mask in found.items() if mask.any() and (~mask).mean() >= _FEWEST}


def keep(model: tf_keras.Model, masks: Masks) -> Hooks:
    """Hooks that set pruned weights back to zero after each step of an optimizer, from the first on.

    Args:
        model: to be trained; its layers may be wrapped by tfmot. Masks of layers that it does not have are not used.
        masks: of the shapes of its kernels.
    """
    kept = Kept(model, masks)
    kept.apply()
    return Hooks(after_step=lambda _: kept.apply())


class Kept:
    """The zeros of a model's kernels, of which there may be more and more: looked at again, and set back to zero.

    Args:
        model: to be trained.
        masks: those to begin with; kernels without one are left alone. None for all kernels, without zeros yet.
    """

    def __init__(self, model: tf_keras.Model, masks: Masks | None = None) -> None:
        found = [(k.variable, np.True_ if masks is None else masks.get(k.layer)) for k in kernels(model)]
        self._pairs = [
            (kernel, tf.Variable(np.broadcast_to(mask, kernel.shape), dtype=kernel.dtype, trainable=False))
            for kernel, mask in found
            if mask is not None
        ]
        self._apply: Any = tf.function(self._masked, autograph=False)

    def look(self) -> None:
        """Keep the zeros that kernels have now."""
        for kernel, mask in self._pairs:
            mask.assign(tf.cast(kernel != 0, mask.dtype))

    def apply(self) -> None:
        """Set what was zero back to it."""
        self._apply()

    def _masked(self) -> None:
        for kernel, mask in self._pairs:
            kernel.assign(kernel * mask)
