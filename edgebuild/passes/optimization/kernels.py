"""The kernels of a tf_keras model that pruning and clustering change, found through tfmot's wrappers too."""

from __future__ import annotations

from typing import Any, NamedTuple

import tf_keras

from edgebuild.passes.graph import building, reading
from edgebuild.passes.optimization import tfmot

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
    return building.build(reading.read(model))


def ends(model: tf_keras.Model) -> tuple[frozenset[str], frozenset[str]]:
    """The layers with kernels that no other one stands before, and those that no other one stands behind."""
    graph = reading.read(model)
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
