"""Channels removed from a network for good, or only silenced in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgebuild.errors import StepError
from edgebuild.passes.graph.ir import Call, Graph, Layer, Tensor, Weights
from edgebuild.passes.surgery.channels import Channels, Count, Role, Vector

Mask = npt.NDArray[np.bool_]


def cut(graph: Graph, channels: Channels, removed: Collection[int]) -> Graph:
    """The network without some channel classes: smaller weights and tensors, everything else as it was.

    It computes what `silence` of the same classes computes.

    Args:
        graph: the network.
        channels: its trace.
        removed: numbers of classes.

    Raises:
        StepError: one of these must stay, or none of its group would be left.
    """
    _require_removable(channels, removed)
    if not removed:
        return graph
    kept = channels.kept(removed)
    layers = dict(graph.layers)
    for name, weights in _sliced(graph, channels, kept).items():
        layers[name] = layers[name]._replace(weights=weights, config=_without_constants(layers[name].config))
    calls = list(graph.calls)
    for item in channels.counts:
        if isinstance(item.where, str):
            layers[item.where] = _recounted(layers[item.where], item, kept)
        else:
            calls[item.where] = _recounted_call(calls[item.where], item, kept)
    tensors = {number: _smaller(tensor, channels, number, kept) for number, tensor in graph.tensors.items()}
    return graph._replace(layers=layers, calls=tuple(calls), tensors=tensors)


def silence(
    graph: Graph, channels: Channels, removed: Collection[int], at: Literal["consumers", "producers"] = "consumers"
) -> Graph:
    """The network in its full size, with some channel classes made to count for nothing.

    At the consumers: whatever a channel carries, each layer that mixes channels takes it times zero. This is exactly
    what removing it does. At the producers: the channel itself is zero, wherever it is made, shifted or scaled. This
    comes to the same where all functions on its way map zero to zero, and is a second way to prove a cut right.

    Raises:
        StepError: as `cut`.
    """
    _require_removable(channels, removed)
    kept = channels.kept(removed)
    roles = {Role.CONSUMES} if at == "consumers" else {Role.PRODUCES, Role.FOLLOWS}
    layers = {name: dict(layer.weights) for name, layer in graph.layers.items()}
    for item in channels.weights:
        if item.role in roles:
            array = layers[item.layer][item.weight]
            shape = [-1 if axis == item.axis else 1 for axis in range(array.ndim)]
            layers[item.layer][item.weight] = array * kept[item.vector].reshape(shape).astype(array.dtype)
    return graph._replace(layers={name: layer._replace(weights=layers[name]) for name, layer in graph.layers.items()})


def _require_removable(channels: Channels, removed: Collection[int]) -> None:
    rest = set(removed)
    for group in channels.groups:
        inside = rest.intersection(group.classes)
        if len(inside) == len(group.classes):
            raise StepError(f"all channels of {group.name} would be removed", "A layer needs one channel at least.")
        rest -= inside
    if rest:
        raise StepError(f"the channel classes {sorted(rest)[:5]} cannot be removed", "They are in no group.")


def _sliced(graph: Graph, channels: Channels, kept: Mask) -> dict[str, Weights]:
    """The weights of each layer that loses some, in their old order."""
    found: dict[str, dict[str, Any]] = {}
    for item in channels.weights:
        mask = kept[item.vector]
        if not mask.all():
            weights = found.setdefault(item.layer, dict(graph.layers[item.layer].weights))
            weights[item.weight] = np.compress(mask, weights[item.weight], item.axis)
    return dict(found)


def _without_constants(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a layer whose weights changed shape: arrays that only ever were their first values go."""
    changed = dict(config)
    for key, value in config.items():
        if key.endswith("_initializer") and isinstance(value, Mapping):
            constant = value.get("config", {}).get("value", 0)
            if not isinstance(constant, int | float):
                changed[key] = {**value, "class_name": "Zeros", "config": {}}
        elif isinstance(value, Mapping) and "class_name" in value:  # the layer inside a wrapper
            changed[key] = {**value, "config": _without_constants(value["config"])}
    return changed


def _recounted(layer: Layer, item: Count, kept: Mask) -> Layer:
    return layer._replace(config=_replaced(layer.config, item.path, _size(item.sizes, kept)))


def _recounted_call(call: Call, item: Count, kept: Mask) -> Call:
    parts = _replaced({"args": call.args, "kwargs": call.kwargs}, item.path, _size(item.sizes, kept))
    return call._replace(args=parts["args"], kwargs=parts["kwargs"])


def _size(sizes: Vector | tuple[Vector, ...], kept: Mask) -> int | list[int]:
    if isinstance(sizes, tuple):
        return [int(kept[vector].sum()) for vector in sizes]
    return int(kept[sizes].sum())


def _replaced(tree: Any, path: Sequence[str | int], value: Any) -> Any:
    """A copy of nested mappings and sequences in which one place holds another value."""
    if not path:
        return value
    head, *rest = path
    if isinstance(tree, Mapping):
        return {**tree, head: _replaced(tree[head], rest, value)}
    items = list(tree)
    items[int(head)] = _replaced(items[int(head)], rest, value)
    return tuple(items) if isinstance(tree, tuple) else items


def _smaller(tensor: Tensor, channels: Channels, number: int, kept: Mask) -> Tensor:
    axes = channels.axes[number]
    shape = [
        size if vector is None else int(kept[vector].sum()) for size, vector in zip(tensor.shape, axes, strict=True)
    ]
    return tensor._replace(shape=tuple(shape))
