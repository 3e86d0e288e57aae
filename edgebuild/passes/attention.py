"""Masked attention that int8 can hold: what a mask leaves out lies just below the scores, and not at minus a billion.

Keras masks the scores of attention by -1e9 (or the lowest number that there is) before a softmax makes them weights.
In int8 one scale has the whole range: a step of it would be four million, and all scores that are not masked would be
the same. Scores that lie `_BELOW` under the least one have weights that float32 does not tell from 0 beside the others,
so that the network computes the same, and the range grows by no more than that.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.naming import Part

_BELOW = 17.0  # exp(-17) is less than half of float32's last bit at 1
_SOFTMAX = "Softmax"
_BY_SCORES = ("Attention", "AdditiveAttention")
# Keras 3 computes these in one operation of its backend, which masks; where scores are asked for, its Softmax does.
_WITH_KERNEL = ("MultiHeadAttention", "GroupedQueryAttention")
_GROUPED_ASKED = "_return_attention_scores"


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


def nearby(scores: tf.Tensor, keep: tf.Tensor, axis: Any = -1) -> tf.Tensor:
    """Scores of which those that are not kept lie below all that become weights with them."""
    lowest = tf.reduce_min(scores, axis=axis, keepdims=True) - tf.constant(_BELOW, scores.dtype)
    return tf.where(keep, scores, lowest)


def _softmax(layer: Any, inputs: tf.Tensor, mask: Any = None, *, nothing: bool = False, **kwargs: Any) -> tf.Tensor:
    """What a Softmax computes; `nothing` is whether it gives no weight at all where all is masked."""
    own = type(layer).call
    if mask is None:
        return own(layer, inputs, **kwargs)
    keep = _is_kept(mask)
    weights = own(layer, nearby(inputs, keep, layer.axis), **kwargs)
    return tf.where(keep, weights, tf.zeros((), weights.dtype)) if nothing else weights


def _is_kept(mask: Any) -> tf.Tensor:
    mask = tf.convert_to_tensor(mask)
    return mask if mask.dtype == tf.bool else tf.cast(mask, tf.float32) > 0.5  # as Keras reads it


def _weighted(
    own: Callable[..., Any], scores: tf.Tensor, value: tf.Tensor, scores_mask: Any = None, training: Any = None
) -> Any:
    if scores_mask is not None:
        keep = _is_kept(scores_mask)
        scores = nearby(scores, keep[:, tf.newaxis] if keep.shape.rank == scores.shape.rank - 1 else keep)
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
