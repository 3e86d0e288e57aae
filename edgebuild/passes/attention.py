"""Masked attention that int8 can hold: what a mask leaves out lies just below the scores, and not at minus a billion.

Keras masks the scores of attention by -1e9 (or the lowest number that there is) before a softmax makes them weights.
In int8 one scale has the whole range: a step of it would be four million, and all scores that are not masked would be
the same. Scores that lie `_BELOW` under the least one have weights that float32 does not tell from 0 beside the others,
so that the network computes the same, and the range grows by no more than that.

What `attention` does for the layers of Keras that mask is done here for plain operations, once they are traced: a bias
of a billion takes the whole int8 range, and all scores that are not masked become the same. An addend counts as a mask
where it is 0 or at most `-_HUGE`, which is read off the graph: a constant of such values, a choice between constants,
or a factor and an offset of something that is 0 or 1 (a comparison, a cast of whole numbers, an input).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.naming import Part

_BELOW = 17.0  # exp(-17) is less than half of float32's last bit at 1
_SOFTMAX = "Softmax"
_BY_SCORES = ("Attention", "AdditiveAttention")
# Keras 3 computes these in one operation of its backend, which masks; where scores are asked for, its Softmax does.
_WITH_KERNEL = ("MultiHeadAttention", "GroupedQueryAttention")
_GROUPED_ASKED = "_return_attention_scores"
_HUGE = 1e3  # exp(-1000) is 0 in float32, by far
_SHAPES = frozenset(
    {"ExpandDims", "Identity", "Reshape", "Squeeze", "StridedSlice", "Tile", "Transpose", "BroadcastTo"}
)
_SUMS = ("Add", "AddV2", "BiasAdd", "Sub")  # what Keras 3 adds by a bias, where shapes allow
_JOINED = frozenset({"Maximum", "Minimum", "Mul"})


@contextmanager
def masked_nearby(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that mask scores put what is masked just below the others."""
    inner = {id(layer): layer for part in found for layer in _with_own(part.layer) if calling.is_keras(layer)}
    stand_ins = [stand_in for layer in inner.values() for stand_in in _stand_ins(layer)]
    with calling.replaced(stand_ins):
        yield


def _with_own(layer: Any) -> list[Any]:
    """A layer and those that it is made of."""
    return list(layer._flatten_layers()) if hasattr(layer, "_flatten_layers") else [layer]


def _stand_ins(layer: Any) -> Iterator[calling.StandIn]:
    kind = type(layer).__name__
    if kind == _SOFTMAX:
        yield calling.StandIn(layer, functools.partial(_softmax, layer, nothing=not _is_tf_keras(layer)))
    elif kind in _BY_SCORES:
        yield calling.StandIn(layer, functools.partial(_weighted, layer._apply_scores), "_apply_scores")
    elif kind in _WITH_KERNEL and not _is_tf_keras(layer):
        attend = functools.partial(_attended, layer, layer._compute_attention)
        yield calling.StandIn(layer, attend, "_compute_attention")


def _is_tf_keras(layer: Any) -> bool:
    return type(layer).__module__.startswith("tf_keras.")


def _nearby(scores: tf.Tensor, keep: tf.Tensor, axis: Any = -1) -> tf.Tensor:
    """Scores of which those that are not kept lie below all that become weights with them."""
    lowest = tf.reduce_min(scores, axis=axis, keepdims=True) - tf.constant(_BELOW, scores.dtype)
    return tf.where(keep, scores, lowest)


def _softmax(layer: Any, inputs: tf.Tensor, mask: Any = None, *, nothing: bool = False, **kwargs: Any) -> tf.Tensor:
    """What a Softmax computes; `nothing` is whether it gives no weight at all where all is masked."""
    own = type(layer).call
    if mask is None:
        return own(layer, inputs, **kwargs)
    keep = _is_kept(mask)
    weights = own(layer, _nearby(inputs, keep, layer.axis), **kwargs)
    return tf.where(keep, weights, tf.zeros((), weights.dtype)) if nothing else weights


def _is_kept(mask: Any) -> tf.Tensor:
    mask = tf.convert_to_tensor(mask)
    return mask if mask.dtype == tf.bool else tf.cast(mask, tf.float32) > 0.5  # as Keras reads it


def _weighted(
    own: Callable[..., Any], scores: tf.Tensor, value: tf.Tensor, scores_mask: Any = None, training: Any = None
) -> Any:
    if scores_mask is not None:
        keep = _is_kept(scores_mask)
        scores = _nearby(scores, keep[:, tf.newaxis] if keep.shape.rank == scores.shape.rank - 1 else keep)
    return own(scores, value, training=training)


def _attended(layer: Any, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Attention whose scores are asked for where there is a mask, so that the layer's Softmax makes them weights."""
    given = inspect.signature(own).bind(*args, **kwargs)
    given.apply_defaults()
    masked = given.arguments["attention_mask"] is not None or given.arguments["use_causal_mask"]
    asked = given.arguments.get("return_attention_scores", getattr(layer, _GROUPED_ASKED, False))
    if not masked or asked or _dropout(layer):
        return own(*args, **kwargs)  # no kernel of the backend, or nothing that it would mask
    # Where all is masked the kernel gives all the same weight.
    stand_ins = [calling.StandIn(layer._softmax, functools.partial(_softmax, layer._softmax))]
    if "return_attention_scores" in given.arguments:
        given.arguments["return_attention_scores"] = True
    with calling.replaced(stand_ins), _asking(layer):
        return own(*given.args, **given.kwargs)


def _dropout(layer: Any) -> float:
    return float(layer.dropout if hasattr(layer, "dropout") else layer._dropout)


@contextmanager
def _asking(layer: Any) -> Iterator[None]:
    """While this lasts, a grouped attention gives its scores, which it asks itself for."""
    before = getattr(layer, _GROUPED_ASKED, None)
    if before is not None:
        setattr(layer, _GROUPED_ASKED, True)
    try:
        yield
    finally:
        if before is not None:
            setattr(layer, _GROUPED_ASKED, before)


class _Masked(NamedTuple):
    """Scores without their mask, and where they are kept, as booleans that broadcast to them."""

    scores: tf.Tensor
    keep: tf.Tensor


class _Affine(NamedTuple):
    """A tensor as `offset + factor * base`, of which `base` is 0 or 1 everywhere."""

    base: tf.Tensor
    offset: float
    factor: float


def put_own_masks_nearby(graph: Any) -> None:
    """Give each softmax of a function that is being traced the masked scores that `attention.nearby` makes of its."""
    for op in [op for op in graph.get_operations() if op.type == "Softmax"]:
        scope = op.name.rpartition("/")[0]
        with tf.name_scope(f"{scope}/" if scope else "mask/"):
            if (found := _masked(op.inputs[0])) is not None:
                op._update_input(0, _nearby(found.scores, found.keep))


def _masked(tensor: tf.Tensor) -> _Masked | None:
    """The scores and the mask that a tensor is made of; None where it has no mask that is known."""
    op = tensor.op
    if op.type in _SUMS:
        return _added(op)
    if op.type == "SelectV2":
        return _chosen(op)
    if op.type in _SHAPES:
        within = _masked(op.inputs[0])
        if within is None or within.scores.shape.as_list() != op.inputs[0].shape.as_list():
            return None
        return _Masked(_again(op, within.scores), _again(op, _broadcast(within)))
    if op.type in ("Mul", "RealDiv"):
        return _scaled(op)
    return None


def _added(op: Any) -> _Masked | None:
    first, second = op.inputs
    pairs = [(first, second)] if op.type == "Sub" else [(first, second), (second, first)]
    for scores, addend in pairs:
        kept = _kept(addend, -1.0 if op.type == "Sub" else 1.0)
        if kept is not None:
            return _also(_masked(scores), scores, kept)
    within = _masked(first)
    return None if within is None else within._replace(scores=_again(op, within.scores))


def _scaled(op: Any) -> _Masked | None:
    """Of masked scores times a positive constant, or divided by one."""
    first, second = op.inputs
    if op.type == "Mul" and _single(first) is not None:
        first, second = second, first
    by = _single(second)
    within = _masked(first) if by is not None and by > 0 else None
    if within is None:
        return None
    scores = within.scores * second if op.type == "Mul" else within.scores / second
    return within._replace(scores=scores)


def _also(within: _Masked | None, scores: tf.Tensor, keep: tf.Tensor) -> _Masked:
    """Scores that are masked by one mask, and by another if there is one further within."""
    return _Masked(scores, keep) if within is None else _Masked(within.scores, tf.logical_and(within.keep, keep))


def _chosen(op: Any) -> _Masked | None:
    """Of `where(mask, scores, -1e9)`, either way round."""
    condition, first, second = op.inputs
    for scores, other in ((first, second), (second, first)):
        value = _constant(other)
        if value is not None and value.size and value.max() <= -_HUGE:
            return _also(_masked(scores), scores, condition if scores is first else tf.logical_not(condition))
    return None


def _broadcast(masked: _Masked) -> tf.Tensor:
    """Where scores are kept, in their shape: what changes the shape of one then changes that of the other."""
    return tf.logical_and(masked.keep, tf.ones_like(masked.scores, tf.bool))


def _kept(addend: tf.Tensor, sign: float) -> tf.Tensor | None:
    """Where an addend, times the sign, is 0; None where it is anything else than 0 and at most `-_HUGE`."""
    value = _constant(addend)
    if value is not None:
        value = sign * value
        huge = value <= -_HUGE
        return tf.constant(~huge) if huge.any() and not value[~huge].any() else None
    affine = _affine(addend)
    if affine is None:
        return None
    at_0, at_1 = sign * affine.offset, sign * (affine.offset + affine.factor)
    if at_0 == 0 and at_1 <= -_HUGE:
        return tf.logical_not(_is_1(affine.base))
    return _is_1(affine.base) if at_1 == 0 and at_0 <= -_HUGE else None


def _is_1(base: tf.Tensor) -> tf.Tensor:
    return base if base.dtype == tf.bool else base > tf.constant(0.5 if base.dtype.is_floating else 0, base.dtype)


def _affine(tensor: tf.Tensor) -> _Affine | None:
    """A tensor by something that is 0 or 1, where that is known."""
    op = tensor.op
    if op.type in _SHAPES:
        within = _affine(op.inputs[0])
        return None if within is None else within._replace(base=_again(op, within.base))
    if op.type == "Neg":
        within = _affine(op.inputs[0])
        return None if within is None else within._replace(offset=-within.offset, factor=-within.factor)
    if op.type == "SelectV2":
        return _choice(op)
    if op.type in (*_SUMS, "Mul"):
        found = _arithmetic(op)
        if found is not None:
            return found
    return _Affine(_uncast(tensor), 0.0, 1.0) if _is_binary(tensor) else None


def _choice(op: Any) -> _Affine | None:
    at_1, at_0 = (_single(tensor) for tensor in op.inputs[1:])
    return None if at_0 is None or at_1 is None else _Affine(op.inputs[0], at_0, at_1 - at_0)


def _arithmetic(op: Any) -> _Affine | None:
    """Of an operation between a constant and something that is affine itself."""
    first, second = op.inputs
    left, right = _single(first), _single(second)
    if (left is None) == (right is None):
        return None
    within = _affine(second if right is None else first)
    if within is None:
        return None
    at_0, at_1 = (_of(op.type, left, right, value) for value in (within.offset, within.offset + within.factor))
    return within._replace(offset=at_0, factor=at_1 - at_0)


def _of(kind: str, left: float | None, right: float | None, value: float) -> float:
    """What an operation makes of a value in the place of its operand that is no constant."""
    first, second = (value if left is None else left), (value if right is None else right)
    return {"Mul": first * second, "Sub": first - second}.get(kind, first + second)


def _is_binary(tensor: tf.Tensor) -> bool:
    """Whether all values are 0 or 1: as a network's input is that masks, and whole numbers that do."""
    op = tensor.op
    if tensor.dtype == tf.bool or op.type == "Cast":
        return not _uncast(tensor).dtype.is_floating
    if op.type in _JOINED:
        return all(map(_is_binary, op.inputs))
    return op.type == "Placeholder" and _captured(tensor) is None


def _uncast(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type == "Cast" and tensor.dtype.is_floating:
        tensor = tensor.op.inputs[0]
    return tensor


def _again(op: Any, tensor: tf.Tensor) -> tf.Tensor:
    """What an operation makes of another tensor in the place of its first."""
    attributes = {name: op.node_def.attr[name] for name in op.node_def.attr if not name.startswith("_")}
    attributes["T"] = tf.compat.v1.AttrValue(type=tensor.dtype.as_datatype_enum)
    made = op.graph.create_op(op.type, [tensor, *op.inputs[1:]], [tensor.dtype], attrs=attributes)
    return made.outputs[0]


def _single(tensor: tf.Tensor) -> float | None:
    value = _constant(tensor)
    return float(value.item()) if value is not None and value.size == 1 else None


def _constant(tensor: tf.Tensor) -> Any:
    """The values of a tensor that are known while it is traced."""
    if not tensor.dtype.is_floating:
        return None
    value = tf.get_static_value(tensor)
    if value is None:
        value = _captured(tensor)
    return None if value is None else np.asarray(value, np.float32)


def _captured(tensor: tf.Tensor) -> Any:
    """The tensor that a function has from outside of it; None where it has none there."""
    return next(_outside(tensor), None)


def _outside(tensor: tf.Tensor) -> Iterator[Any]:
    if tensor.op.type == "Placeholder":
        for outer, inner in tensor.graph.captures:
            if inner is tensor:
                yield outer.numpy() if hasattr(outer, "numpy") and outer.dtype != tf.resource else outer
