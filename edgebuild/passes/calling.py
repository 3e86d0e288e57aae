"""Calling Keras models of any version."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow as tf

_ABSENT = object()


class StandIn(NamedTuple):
    """What a layer computes by in the stead of one of its methods."""

    layer: Any
    function: Callable[..., Any]
    method: str = "call"


@contextmanager
def replaced(stand_ins: Iterable[tuple[Any, Callable[..., Any]] | StandIn]) -> Iterator[None]:
    """While this lasts, layers of either Keras compute by other functions than their own; each method stands once."""
    found = [StandIn(*stand_in) for stand_in in stand_ins]
    before = [vars(one.layer).get(one.method, _ABSENT) for one in found]
    for layer, function, method in found:
        vars(layer)[method] = function
    try:
        yield
    finally:
        for (layer, _, method), own in zip(found, before, strict=True):
            if own is _ABSENT:
                del vars(layer)[method]
            else:
                vars(layer)[method] = own


@contextmanager
def exchanged(layers: Iterable[Any], call_of: Callable[[Any], Callable[..., Any] | None]) -> Iterator[None]:
    """While this lasts, layers that Keras itself made compute by what `call_of` gives for each; None leaves it.

    A layer may stand there several times.
    """
    own = [each for each in {id(layer): layer for layer in layers}.values() if is_keras(each)]
    calls = [(layer, call) for layer in own if (call := call_of(layer)) is not None]
    with replaced(calls):
        yield


def is_keras(layer: Any) -> bool:
    """Whether a layer is of a class of Keras, of either version, and no other of the same name."""
    return type(layer).__module__.startswith(("keras.", "tf_keras."))


def alone(own: Callable[..., Any], other: Callable[[tf.Tensor], tf.Tensor]) -> Callable[..., Any]:
    """A call that another function answers where one tensor is given and nothing else, and the layer itself if not."""

    @functools.wraps(own)
    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        plain = isinstance(inputs, tf.Tensor) and not args and all(value is None for value in kwargs.values())
        return other(inputs) if plain else own(inputs, *args, **kwargs)

    return call


def packed(inputs: Sequence[Any]) -> Any:
    """Inputs as Keras models take them: the only one by itself, several as a list."""
    return inputs[0] if len(inputs) == 1 else list(inputs)


def outputs(model: Any, inputs: Sequence[Any], *, training: bool = False) -> list[Any]:
    """What a model makes of a batch, one tensor for each of its outputs."""
    return list(tf.nest.flatten(model(packed(inputs), training=training)))
