"""Layers without weights that move channels, let them pass or bring several tensors together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebuild.passes.graph.ir import Shape
from edgebuild.passes.surgery.channels import FIXED, Axes, Vector
from edgebuild.passes.surgery.use import Use


def same(use: Use) -> list[Axes]:
    """Each value is computed from the same place alone."""
    return [use.inputs[0]]


def dropout(use: Use) -> list[Axes]:
    """As `same`; the noise may have a shape of its own, which counts channels."""
    (axes, *_) = use.inputs
    for axis, size in enumerate(use.config.get("noise_shape") or ()):
        if size is not None and size > 1:
            use.count(("noise_shape", axis), axes[axis])
    return [axes]


def spatial(use: Use) -> list[Axes]:
    """Pooling, padding, cropping and resizing: channels pass where they are, other axes change."""
    axis = use.channel_axis
    return use.placed(axis, use.pin_others(use.inputs[0], axis)[axis])


def global_pooling(use: Use) -> list[Axes]:
    """All axes but that of the channels are averaged away, or kept with size 1."""
    axis = use.channel_axis
    vector = use.pin_others(use.inputs[0], axis)[axis]
    return use.placed(axis if use.config.get("keepdims") else 1, vector)


def mixing(use: Use) -> list[Axes]:
    """Each value depends on the others along some axes (the last where none are named), with nothing to cut."""
    (axes, *_) = use.inputs
    chosen = use.config.get("axis", -1)
    for axis in [chosen] if isinstance(chosen, int) else list(chosen or range(1, len(axes))):
        use.pin(axes[axis])
    return [axes]


def mixing_all(use: Use) -> list[Axes]:
    """Each value depends on others along all axes."""
    (axes, *_) = use.inputs
    for vector in axes:
        use.pin(vector)
    return [axes]


def rescaling(use: Use) -> list[Axes]:
    """Factors that may be given for each channel, which are not cut."""
    (axes, *_) = use.inputs
    if np.size(use.config["scale"]) > 1 or np.size(use.config["offset"]) > 1:
        use.pin(axes[-1])
    return [axes]


def permute(use: Use) -> list[Axes]:
    """`dims` numbers the axes from 1, without the batch."""
    (axes, *_) = use.inputs
    return [(axes[0], *(axes[axis] for axis in use.config["dims"]))]


def repeat_vector(use: Use) -> list[Axes]:
    """(batch, channels) becomes (batch, n, channels)."""
    (axes, *_) = use.inputs
    return [(axes[0], None, axes[1])]


def flatten(use: Use) -> list[Axes]:
    """Row by row, with the channels last."""
    (axes, *_), (shape, *_) = use.inputs, use.given
    if use.config.get("data_format") == "channels_first" and len(shape) > 2:
        axes, shape = (axes[0], *axes[2:], axes[1]), (shape[0], *shape[2:], shape[1])
    return [reshaped(use, axes, shape)]


def reshape(use: Use) -> list[Axes]:
    """`target_shape` is without the batch, and counts the channels wherever they come to lie."""
    axes = reshaped(use, use.inputs[0], use.given[0])
    for position, size in enumerate(use.config["target_shape"]):
        if size != -1:
            use.count(("target_shape", position), axes[position + 1])
    return [axes]


def reshaped(use: Use, axes: Axes, shape: Shape) -> Axes:
    """The axes after the first tensor was reshaped to the first result; atoms that cannot be followed are pinned.

    They can be followed to an axis if it alone tells which atom a value belongs to: then what is cut from the one shape
    is, in the same order, what is cut from the other.
    """
    result = use.results[0]
    if _size(shape) != _size(result):
        return _refolded(use, axes, shape)
    found: dict[int, list[Vector]] = {}
    for axis, vector in enumerate(axes):
        if vector is None:
            continue
        place = _followed(vector, axis, shape, result)
        if place is None:
            use.pin(vector)
        else:
            found.setdefault(place[0], []).append(place[1])
    for vectors in found.values():
        if len(vectors) > 1:  # two axes became one: no position of it belongs to one atom alone
            for vector in vectors:
                use.pin(vector)
    return tuple(found[axis][0] if len(found.get(axis, [])) == 1 else None for axis in range(len(result)))


def _size(shape: Shape) -> int | None:
    """The number of values of a sample; None where it is open."""
    inner = shape[1:]
    return None if None in inner else math.prod(inner)  # type: ignore[arg-type]


def _refolded(use: Use, axes: Axes, shape: Shape) -> Axes:
    """The axes where a tensor gets another batch (its steps become samples, or samples steps): the last ones stay."""
    result = use.results[0]
    same = 0
    while same < min(len(shape), len(result)) - 1 and shape[-1 - same] == result[-1 - same] is not None:
        same += 1
    kept = use.pin_others(axes, *range(len(shape) - same, len(shape)))
    return (*[None] * (len(result) - same), *kept[len(shape) - same :])


def _followed(vector: Vector, axis: int, before: Shape, after: Shape) -> tuple[int, Vector] | None:
    if len(vector) == 1 or before[0] != after[0] or None in before[1:] or None in after[1:]:
        return None
    sizes: Any = before[1:]
    along = vector.reshape([-1 if position == axis else 1 for position in range(1, len(before))])
    atoms = np.broadcast_to(along, sizes).reshape(after[1:])  # type: ignore[arg-type]
    for place in range(1, len(after)):
        candidate = np.moveaxis(atoms, place - 1, 0).reshape(atoms.shape[place - 1], -1)
        if (candidate == candidate[:, :1]).all():
            return place, np.ascontiguousarray(candidate[:, 0])
    return None


def elementwise(use: Use) -> list[Axes]:
    """Sums, products and the like: values at the same place become one.

    Tensors of a lower rank get their missing axes behind the batch, as Keras does it.
    """
    rank = len(use.results[0])
    given = [(shape[0], *[1] * (rank - len(shape)), *shape[1:]) for shape in use.given]
    inputs = [(axes[0], *[None] * (rank - len(axes)), *axes[1:]) for axes in use.inputs]
    return [tuple(_merged(use, axis, given, inputs) for axis in range(rank))]


def _merged(use: Use, axis: int, given: Sequence[Shape], inputs: Sequence[Axes]) -> Vector | None:
    size = use.results[0][axis]
    whole = []
    for shape, axes in zip(given, inputs, strict=True):
        if shape[axis] == 1 and size != 1:
            use.pin(axes[axis], f"its one channel is spread over many in {use.layer.kind.__name__} {use.layer.name}")
        else:
            whole.append(axes[axis])
    return use.unify(whole, size)


def concatenate(use: Use) -> list[Axes]:
    """One after the other along the axis of the config."""
    return [joined(use, int(use.config["axis"]))]


def joined(use: Use, axis: int) -> Axes:
    """The axes of all tensors joined along one of theirs; along the others they are tied together."""
    rank = len(use.results[0])
    axis %= rank
    return tuple(
        _behind(use, axis) if other == axis else use.unify([axes[other] for axes in use.inputs], use.results[0][other])
        for other in range(rank)
    )


def _behind(use: Use, axis: int) -> Vector | None:
    if all(axes[axis] is None for axes in use.inputs):
        return None
    parts = []
    for axes, shape in zip(use.inputs, use.given, strict=True):
        vector = axes[axis]
        parts.append(np.full(shape[axis] or 0, FIXED, np.int32) if vector is None else vector)
    return np.concatenate(parts)
