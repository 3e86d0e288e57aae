"""The network graph: layers with their weights, and the calls that connect them through tensors.

Passes that change a network's structure change this; `reading` makes it from a Keras model, `building` makes a tf_keras
model of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild import hashing

Weights = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Ref:
    """Where an argument of a call is a tensor: its number in the graph."""

    tensor: int


class Tensor(NamedTuple):
    """A tensor between calls. `shape` has the batch first, None where open."""

    shape: Shape
    dtype: str


class Layer(NamedTuple):
    """A layer, which may be called more than once.

    Attributes:
        name: unique in its graph.
        kind: its tf_keras class.
        config: what `kind.from_config` takes.
        weights: arrays by the short names of their variables ("kernel", "moving_mean"), in the order of
            `Layer.get_weights`.
    """

    name: str
    kind: type
    config: Mapping[str, Any]
    weights: Weights


class Call(NamedTuple):
    """One use of a layer.

    Attributes:
        layer: its name.
        args: as they are passed, with a Ref for each tensor.
        kwargs: likewise.
        outputs: the numbers of the tensors that come out, flattened.
    """

    layer: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The numbers of the tensors that go in, flattened; one that is used twice stands twice."""
        flat = tf.nest.flatten((self.args, list(self.kwargs.values())))
        return tuple(item.tensor for item in flat if isinstance(item, Ref))


class Input(NamedTuple):
    """An input of the network: its name and the number of its tensor."""

    name: str
    tensor: int


class Graph(NamedTuple):
    """A network.

    Attributes:
        name: the network's.
        layers: by name.
        calls: in an order in which they can be done.
        inputs: in the order the network takes them.
        outputs: the numbers of the tensors that it returns, in order.
        tensors: all of them, by number.
    """

    name: str
    layers: Mapping[str, Layer]
    calls: tuple[Call, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    tensors: Mapping[int, Tensor]

    def producers(self) -> dict[int, Call]:
        """For each tensor that is no input the call it comes from."""
        return {tensor: call for call in self.calls for tensor in call.outputs}

    def consumers(self) -> dict[int, list[Call]]:
        """For each tensor the calls that take it, in order; empty where only the caller does."""
        found: dict[int, list[Call]] = {tensor: [] for tensor in self.tensors}
        for call in self.calls:
            for tensor in dict.fromkeys(call.inputs):
                found[tensor].append(call)
        return found

    def calls_of(self, layer: str) -> Iterator[Call]:
        """Every use of a layer."""
        return (call for call in self.calls if call.layer == layer)

    @property
    def parameters(self) -> int:
        """The number of all weights."""
        return sum(int(array.size) for layer in self.layers.values() for array in layer.weights.values())

    def identity(self) -> str:
        """A SHA-256 over the structure and the weights."""
        layers = [
            [layer.name, layer.kind.__name__, repr(sorted(layer.config.items())), _digests(layer.weights)]
            for layer in self.layers.values()
        ]
        calls = [[call.layer, repr(call.args), repr(sorted(call.kwargs.items())), call.outputs] for call in self.calls]
        return hashing.of_data([layers, calls, [list(item) for item in self.inputs], self.outputs])


def _digests(weights: Weights) -> list[list[str]]:
    return [
        [name, str(array.dtype), str(array.shape), hashing.of_bytes(np.ascontiguousarray(array).tobytes())]
        for name, array in weights.items()
    ]
