"""What the layers of a Keras model are called, and operations traced under those names.

Keras opens scopes of its own while a model is traced, and they do not tell which layer an operation belongs to: models
nested in others stand before their layers, a model may be called like one of its layers, and Keras 3 opens each scope
twice, so that "conv2d_1" is the scope of the layer conv2d. Here each layer's operations get a scope that says it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow as tf

from edgebuild.passes import calling, time_distributed
from edgebuild.passes.graph.ir import distinct
from edgebuild.readback import SCOPE


class Part(NamedTuple):
    """A layer, or a model used as one.

    Attributes:
        layer: the object of Keras.
        name: its own where nothing else in the network is called so; else with the names of the models that it is in:
            "backbone/conv".
        above: the names of the models that it is in.
        is_container: whether it consists of other parts and computes nothing itself.
    """

    layer: Any
    name: str
    above: tuple[str, ...]
    is_container: bool


def parts(model: Any) -> list[Part]:
    """All layers of a model of Keras 3 or tf_keras, and of the models in it; of inputs only its own."""
    found = list({id(layer): (layer, path) for layer, path in reversed(list(_walked(model)))}.values())[::-1]
    ends = Counter(path[start:] for _, path in found for start in range(len(path)))
    names: dict[tuple[str, ...], str] = {}
    made = []
    for layer, path in found:
        start = next((at for at in range(len(path) - 1, 0, -1) if ends[path[at:]] == 1), 0)
        names[path] = distinct("/".join(path[start:]), names.values())
        above = tuple(names[path[:length]] for length in range(1, len(path)) if path[:length] in names)
        made.append(Part(layer, names[path], above, _inner(layer) != [] and is_graph(layer)))
    return made


def layers(found: Sequence[Part]) -> list[str]:
    """The names of those that compute something."""
    return [part.name for part in found if not part.is_container]


def within(found: Sequence[Part]) -> dict[str, tuple[str, ...]]:
    """For each model used as a layer the names of the layers in it, in their order."""
    models = dict.fromkeys(name for part in found for name in part.above)
    computing = [part for part in found if not part.is_container]
    return {name: tuple(part.name for part in computing if name in (*part.above, part.name)) for name in models}


def names(model: Any) -> Mapping[int, str]:
    """The names of all layers by the identities of their objects."""
    return {id(part.layer): part.name for part in parts(model)}


@contextmanager
def scopes(found: Sequence[Part]) -> Iterator[None]:
    """While this lasts, layers that are called put what they compute into scopes that `readback.layers_of` knows."""
    calls = [(part.layer, _scoped(part.layer.call, f"{SCOPE}/{part.name}/")) for part in found]
    with calling.replaced(calls):
        yield


def _scoped(call: Callable[..., Any], scope: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        with tf.name_scope(scope):  # with a slash at its end it is what it says, wherever it is opened
            return call(*args, **kwargs)

    return scoped


def _walked(model: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    for layer in _inner(model):
        path = (*above, layer.name)
        if not above or type(layer).__name__ != "InputLayer":
            yield layer, path
        yield from _walked(layer, path) if _inner(layer) else ()


def _inner(layer: Any) -> list[Any]:
    """The layers in a model, or in the model that a TimeDistributed layer is wrapped around."""
    return list(getattr(layer.layer if time_distributed.is_one(layer) else layer, "layers", []))


def is_graph(layer: Any) -> bool:
    """Whether Keras knows all that a model computes; the code of others may compute more than their layers do."""
    inner = getattr(layer, "_functional", None) or layer  # where a Sequential of Keras 3 keeps it
    return bool(getattr(layer, "_is_graph_network", False)) or hasattr(inner, "_nodes_by_depth")
