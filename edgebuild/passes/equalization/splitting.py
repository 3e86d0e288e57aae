"""Channels that stand out split into parts, whose sum is what the channel was.

Zhao et al. 2019, "Improving neural network quantization without retraining using outlier channel splitting", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.equalization.statistics import Extents, is_relu
from edgebuild.passes.graph.ir import Call, Graph, Layer, Tensor

_STANDS_OUT = 2.0  # times the median of the channels

_MIXING = frozenset({"Conv1D", "Conv2D", "Conv3D", "Dense"})
_PASSING = frozenset(
    [
        *(f"{kind}Pooling{rank}D" for kind in ("Average", "Max", "GlobalAverage", "GlobalMax") for rank in (1, 2, 3)),
        *(
            f"{kind}{rank}D"
            for kind in ("Cropping", "UpSampling", "ZeroPadding", "SpatialDropout")
            for rank in (1, 2, 3)
        ),
        *("Dropout", "Flatten"),
    ]
)

Places = npt.NDArray[np.intp]


class Path(NamedTuple):
    """Where the channels of a layer go: the tensors they stand in, and the layers that mix them."""

    tensors: tuple[int, ...]
    consumers: tuple[str, ...]


class Split(NamedTuple):
    """A graph, and how many channels were added to it."""

    graph: Graph
    channels: int


def split(graph: Graph, extents: Extents, share: float) -> Split:
    """Split channels whose activations stand out, wherever a layer's channels go to plain layers alone.

    Args:
        graph: the network.
        extents: of the tensors that are kept in int8.
        share: how many channels may be added to a layer at most, as a share of its own.
    """
    added = 0
    for call in graph.calls:
        path = path_of(graph, call)
        known = [extents[tensor].largest for tensor in path.tensors if tensor in extents] if path else []
        width = graph.tensors[call.outputs[0]].shape[-1] or 0
        known = [values for values in known if len(values) == width]
        if path is not None and known:
            copies = copies_of(np.max(known, axis=0), math.ceil(share * width))
            if (copies > 1).any():
                graph = _widened(graph, call.layer, path, copies)
                added += int(copies.sum()) - width
    return Split(graph, added)


def copies_of(largest: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.int64]:
    """Into how many parts each channel goes: the largest is split, `most` times or until none stands out."""
    copies = np.ones(len(largest), np.int64)
    for _ in range(most):
        place = int(np.argmax(largest / copies))
        if largest[place] / copies[place] <= _STANDS_OUT * float(np.median(largest)):
            break
        copies[place] += 1
    return copies


def path_of(graph: Graph, call: Call) -> Path | None:
    """Where the channels go that a call makes; None if anything but plain layers makes or takes them."""
    layer = graph.layers[call.layer]
    if not _is_plain(graph, layer) or layer.config["activation"] not in ("linear", "relu"):
        return None
    tensors, consumers, waiting, takers = [], [], [call.outputs[0]], graph.consumers()
    while waiting:
        tensor = waiting.pop()
        tensors.append(tensor)
        if tensor in graph.outputs:
            return None
        for taker in takers[tensor]:
            found = graph.layers[taker.layer]
            if _is_plain(graph, found):
                consumers.append(found.name)
            elif _passes(found) and len(taker.inputs) == 1:
                waiting.extend(taker.outputs)
            else:
                return None
    return Path(tuple(tensors), tuple(consumers))


def _is_plain(graph: Graph, layer: Layer) -> bool:
    """Whether it mixes all channels, on the last axis, and is used once."""
    groups, last = layer.config.get("groups", 1), layer.config.get("data_format", "channels_last")
    known = layer.kind.__name__ in _MIXING and layer.kind.__module__.startswith("tf_keras.")
    return known and groups == 1 and last == "channels_last" and len(list(graph.calls_of(layer.name))) == 1


def _passes(layer: Layer) -> bool:
    kind, last = layer.kind.__name__, layer.config.get("data_format", "channels_last")
    linear = kind == "Activation" and layer.config["activation"] == "linear"
    return last == "channels_last" and (kind in _PASSING or linear or is_relu(layer, (math.inf,)))


def _widened(graph: Graph, producer: str, path: Path, copies: npt.NDArray[np.int64]) -> Graph:
    source = np.append(np.arange(len(copies)), np.repeat(np.arange(len(copies)), copies - 1))
    layers = dict(graph.layers)
    layers[producer] = _with_filters(layers[producer], source, copies)
    for name in path.consumers:
        kernel = layers[name].weights["kernel"]
        rows = _along(source, len(copies), kernel.shape[-2])
        layers[name] = _with_weights(layers[name], {"kernel": np.take(kernel, rows, axis=-2)})
    tensors = {number: _wider(graph.tensors[number], source, len(copies)) for number in path.tensors}
    return graph._replace(layers=layers, tensors={**graph.tensors, **tensors})


def _with_filters(layer: Layer, source: Places, copies: npt.NDArray[np.int64]) -> Layer:
    """The layer with a filter for each source, each with its part of the values."""
    weights = {
        name: (np.take(array, source, axis=-1) / copies[source]).astype(array.dtype)
        for name, array in layer.weights.items()
    }
    key = "units" if "units" in layer.config else "filters"
    layer = _with_weights(layer, weights)
    return layer._replace(config={**layer.config, key: len(source)})


def _with_weights(layer: Layer, weights: Mapping[str, npt.NDArray[np.float32]]) -> Layer:
    """The layer with weights of another shape; first values that were given as arrays do not fit them any more."""
    zeros = {key: "zeros" for key in layer.config if key in ("kernel_initializer", "bias_initializer")}
    return layer._replace(config={**layer.config, **zeros}, weights={**layer.weights, **weights})


def _along(source: Places, width: int, size: int) -> Places:
    """The sources of an axis on which the channels stand once, or again and again as after a Flatten."""
    places: Places = np.arange(size).reshape(-1, width)[:, source].ravel()
    return places


def _wider(tensor: Tensor, source: Places, width: int) -> Tensor:
    *others, size = tensor.shape
    assert size is not None, "the channels are counted"
    return tensor._replace(shape=(*others, size // width * len(source)))
