"""The proof that a cut is right: the network with channels silenced and the one without them compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tf_keras
from tf_keras import layers

from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph, Layer
from edgebuild.passes.surgery.channels import Channels
from edgebuild.passes.surgery.cutting import cut, silence

IMAGE = (6, 6, 3)
Body = Callable[[Any], Any]  # from the tensor that goes in to the one that comes out


def conv(name: str, filters: int = 8, kernel: int = 3, **options: Any) -> Any:
    return layers.Conv2D(filters, kernel, padding="same", activation="relu", name=name, **options)


def end(x: Any) -> Any:
    """Something that takes any tensor and makes the network's output, which is left alone."""
    return layers.Dense(2, name="end")(layers.Flatten()(x))


def graph_of(body: Body, shape: tuple[int, ...] = IMAGE, dtype: str = "float32") -> Graph:
    tf_keras.backend.clear_session()
    given = tf_keras.Input(shape, name="given", dtype=dtype)
    return lively(building.read(tf_keras.Model(given, body(given))))


def sample(shape: tuple[int, ...] = IMAGE, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)


def groups_of(channels: Channels) -> dict[tuple[str, ...], int]:
    return {tuple(sorted(group.layers)): len(group.classes) for group in channels.groups}


class Proof(NamedTuple):
    """Largest differences, relative to the largest output where that is over 1."""

    consumers: float  # of the cut network from the one that is silenced at the consumers
    producers: float  # likewise at the producers
    effect: float  # from the network before, so that the others mean something
    smaller: Graph


def lively(graph: Graph, seed: int = 0) -> Graph:
    """A graph with weights that keep signals in size, and with no batch norm, bias or scale that does nothing."""
    rng = np.random.default_rng(seed)
    return graph._replace(layers={name: _lively(layer, rng) for name, layer in graph.layers.items()})


def _lively(layer: Layer, rng: np.random.Generator) -> Layer:
    if layer.kind.__name__ == "Normalization":
        return layer
    weights = {name: _drawn(name, array, rng) for name, array in layer.weights.items()}
    return layer._replace(weights=weights)


def _drawn(name: str, array: Any, rng: np.random.Generator) -> Any:
    if name.startswith(("gamma", "moving_variance")):
        values = rng.uniform(0.5, 1.5, array.shape)
    elif array.ndim > 1 and not name.startswith("bias"):
        fan_in = np.prod(array.shape[: -2 if name.startswith("depthwise") else -1])
        values = rng.normal(0, np.sqrt(2 / fan_in), array.shape)
    else:
        values = rng.normal(0, 0.2, array.shape)
    return values.astype(array.dtype)


def some(channels: Channels, seed: int = 0, most: float = 0.5) -> frozenset[int]:
    """Random classes of every group: at least one of each, at most that share."""
    rng = np.random.default_rng(seed)
    removed: set[int] = set()
    for group in channels.groups:
        limit = max(1, int(most * len(group.classes)))
        removed.update(rng.choice(group.classes, rng.integers(1, limit + 1), replace=False).tolist())
    return frozenset(removed)


def settled(graph: Graph, model: tf_keras.Model, *inputs: Any) -> Graph:
    """The graph with batch norms that have seen these inputs, so that no signal dies or explodes in a deep network.

    Args:
        graph: the network.
        model: one with the same layers; it gets the same weights.
        inputs: what the model takes.
    """
    _load(model, graph)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in norms:
        layer.momentum = 0.0
    model(list(inputs) if len(inputs) > 1 else inputs[0], training=True)
    for layer in norms:
        # Where samples are nearly alike their variance alone would blow up every rounding error.
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        layer.moving_variance.assign(variance + 0.1 * mean**2 + 1e-3)
    return building.learned(graph, model)


def prove(
    graph: Graph, channels: Channels, removed: Iterable[int], *inputs: Any, model: tf_keras.Model | None = None
) -> Proof:
    """Both kinds of silenced networks, compared with the cut one on some inputs; a model of the graph is used up."""
    gone = frozenset(removed)
    smaller = cut(graph, channels, gone)
    whole = building.build(graph) if model is None else model
    before = outputs(whole, inputs)
    _load(whole, silence(graph, channels, gone, "consumers"))
    consumers = outputs(whole, inputs)
    _load(whole, silence(graph, channels, gone, "producers"))
    producers = outputs(whole, inputs)
    after = outputs(building.build(smaller), inputs)
    return Proof(_apart(consumers, after), _apart(producers, after), _apart(before, after), smaller)


def _load(model: tf_keras.Model, graph: Graph) -> None:
    for name, layer in graph.layers.items():
        model.get_layer(name).set_weights(list(layer.weights.values()))


def outputs(model: tf_keras.Model, inputs: tuple[Any, ...]) -> list[Any]:
    """What a model returns, as a list of arrays."""
    found = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(array) for array in (found if isinstance(found, list | tuple) else [found])]


def _apart(one: list[Any], other: list[Any]) -> float:
    return max(
        float(np.abs(left - right).max() / max(1.0, np.abs(left).max())) for left, right in zip(one, other, strict=True)
    )
