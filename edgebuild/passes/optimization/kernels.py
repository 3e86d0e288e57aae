"""The kernels of a tf_keras model that pruning and clustering change, and the masks of what was pruned in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edgebuild.passes.graph import building
from edgebuild.passes.optimization import tfmot
from edgebuild.passes.training.loop import Hooks

# By the name of the class: a depthwise convolution is a subclass of another one, and its few weights stay.
_WEIGHT_OF = {
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv2DTranspose": "kernel",
    "Conv3D": "kernel",
    "Dense": "kernel",
    "SeparableConv1D": "pointwise_kernel",
    "SeparableConv2D": "pointwise_kernel",
}

_WRAPPERS = (tfmot.ClusterWeights, tfmot.QuantizeWrapper)
Masks = Mapping[str, npt.NDArray[np.bool_]]
# Trained weights are hardly ever exactly zero; fewer zeros than this are no pruning.
_FEWEST = 0.01


class Kernel(NamedTuple):
    """The weight of a layer that multiplies its inputs.

    Attributes:
        layer: the name of the layer, that of the one inside where it is wrapped.
        variable: float32, [..., channels in, channels out]; a transposed convolution has the last two exchanged.
        transposed: whether it has.
    """

    layer: str
    variable: Any
    transposed: bool


def kernels(model: tf_keras.Model) -> list[Kernel]:
    """All kernels of a model in the order of its layers, without those of depthwise convolutions."""
    found = []
    for layer in model.layers:
        inner = unwrapped(layer)
        weight = _WEIGHT_OF.get(type(inner).__name__)
        variable = weight and next((item for item in layer.weights if short_name(item) == weight), None)
        if variable is not None:
            found.append(Kernel(inner.name, variable, type(inner).__name__ == "Conv2DTranspose"))
    return found


def unwrapped(layer: Any) -> Any:
    """The layer inside tfmot's wrappers, or the layer itself."""
    while isinstance(layer, _WRAPPERS):
        layer = layer.layer
    return layer


def short_name(variable: Any) -> str:
    """The name of a variable in its layer: "kernel" of "block/conv/kernel:0"."""
    return str(variable.name).split("/")[-1].split(":")[0]


def copied(model: tf_keras.Model) -> tf_keras.Model:
    """A model of the same layers with weights of its own; models nested in it are taken apart.

    Raises:
        StepError: its structure is not known.
    """
    return building.build(building.read(model))


def ends(model: tf_keras.Model) -> tuple[frozenset[str], frozenset[str]]:
    """The layers with kernels that no other one stands before, and those that no other one stands behind."""
    graph = building.read(model)
    names = {kernel.layer for kernel in kernels(model)}
    seen_before: dict[int, bool] = {item.tensor: False for item in graph.inputs}
    first: set[str] = set()
    for call in graph.calls:
        behind = any(seen_before.get(tensor, False) for tensor in call.inputs)
        if call.layer in names and not behind:
            first.add(call.layer)
        seen_before.update(dict.fromkeys(call.outputs, behind or call.layer in names))
    last: set[str] = set()
    reached = dict.fromkeys(graph.outputs, False)
    for call in reversed(graph.calls):
        ahead = [reached[tensor] for tensor in call.outputs if tensor in reached]
        if not ahead:
            continue
        if call.layer in names and not any(ahead):
            last.add(call.layer)
        for tensor in call.inputs:
            reached[tensor] = reached.get(tensor, False) or any(ahead) or call.layer in names
    return frozenset(first), frozenset(last)


"""For each pruned layer the shape of its kernel, True where a weight is left."""


def masks_of(model: tf_keras.Model) -> Masks:
    """The masks of all kernels that hold zeros; one that is all zeros (new, say) was not pruned."""
    found = {kernel.layer: kernel.variable.numpy() != 0 for kernel in kernels(model)}
    return {layer: mask for layer, mask in found.items() if mask.any() and (~mask).mean() >= _FEWEST}


def keep_masks(model: tf_keras.Model, masks: Masks) -> Hooks:
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
