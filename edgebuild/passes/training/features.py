"""Layers of teacher and student that are compared with each other while the student learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tf_keras

from edgebuild.decode import require_known
from edgebuild.errors import UsageError

Pair = tuple[str, str]
# Where no pairs are given, this many layers are compared, evenly spaced: enough to guide every part of a network.
_MOST = 4
_WEIGHTED = ("kernel", "depthwise_kernel", "pointwise_kernel")


def default_pairs(teacher: Any, student: Any) -> tuple[Pair, ...]:
    """Layers with kernels that both have by the same name, at most four, without the last: it is taught by answers."""
    theirs = {layer.name for layer in teacher.layers}
    common = [name for name in map(own_name, filter(_has_kernel, student.layers)) if name in theirs][:-1]
    if len(common) <= _MOST:
        return tuple((name, name) for name in common)
    chosen = [common[round((place + 1) * len(common) / _MOST) - 1] for place in range(_MOST)]
    return tuple((name, name) for name in chosen)


def with_layers(model: Any, names: Sequence[str]) -> Any:
    """A model that returns (outputs, [output of each named layer]); wrapped layers go by the name inside.

    Raises:
        UsageError: there is no such layer.
    """
    if not names:
        return lambda x, training: (model(x, training=training), [])
    known = {own_name(layer): layer for layer in model.layers}
    require_known("[distill] pairs", names, known, model.name)
    extended = _kit(model).Model(model.inputs, [model.outputs, [known[name].output for name in names]])
    return lambda x, training: extended(x, training=training)


def projections(pairs: Sequence[Pair], teacher: Any, student: Any) -> list[Any]:
    """For each pair a learned 1x1 projection of the student's channels onto the teacher's; None where they agree.

    Romero et al. 2015, "FitNets", section 2.2, calls it the regressor.

    Raises:
        UsageError: the layers differ in more than their channels.
    """
    found = []
    for theirs, ours in pairs:
        wide, narrow = _shape(teacher, theirs), _shape(student, ours)
        if wide[:-1] != narrow[:-1]:
            raise UsageError(
                f"[distill] pairs: {theirs} has the shape {wide[1:]}, {ours} {narrow[1:]}",
                "Paired layers may differ in their channels (the last axis) only.",
            )
        found.append(tf_keras.layers.Dense(wide[-1], use_bias=False) if wide[-1] != narrow[-1] else None)
    return found


def own_name(layer: Any) -> str:
    """A layer's name as its user knows it, without what an optimization wrapped around it."""
    return str(getattr(layer, "layer", layer).name)


def _has_kernel(layer: Any) -> bool:
    inner = getattr(layer, "layer", layer)
    return any(hasattr(inner, name) for name in _WEIGHTED)


def _shape(model: Any, name: str) -> tuple[Any, ...]:
    layer = next(layer for layer in model.layers if own_name(layer) == name)
    return tuple(layer.output.shape)


def _kit(model: Any) -> Any:
    if isinstance(model, tf_keras.Model):
        return tf_keras
    import keras  # only a teacher in Keras 3 needs it

    return keras
