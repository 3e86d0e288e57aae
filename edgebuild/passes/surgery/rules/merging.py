"""Layers that bring several tensors together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebuild.passes.graph.ir import Shape
from edgebuild.passes.surgery.channels import FIXED, Axes, Vector
from edgebuild.passes.surgery.use import Use


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
