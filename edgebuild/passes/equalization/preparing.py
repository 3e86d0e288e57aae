"""Networks rewritten so that more of their channels can have scales: they compute the same.

Zhao et al. 2019, "Improving neural network quantization without retraining using outlier channel splitting", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tf_keras

from edgebuild.passes.equalization.statistics import Extents, is_relu
from edgebuild.passes.graph import affine
from edgebuild.passes.graph.folding import Rewritten, fold_batch_norm
from edgebuild.passes.graph.ir import Call, Draft, Graph, Layer, Step, Tensor, distinct
from edgebuild.readback import named_now

_SEPARABLE = {"SeparableConv1D": "1D", "SeparableConv2D": "2D"}
_PASSED_ON = ("activation", "use_bias", "trainable", "dtype")
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


class Prepared(NamedTuple):
    """A rewritten network.

    Attributes:
        graph: the network.
        instead: the layers that do now what a layer did, by its name: for those of which that is not itself alone.
    """

    graph: Graph
    instead: Mapping[str, tuple[str, ...]]


def prepare(graph: Graph, *, fold: bool) -> Prepared:
    """Batch norms folded where that is exact and asked for; those left have a gamma; separable convolutions in two.

    The converter takes a separable convolution for two as well; only so the channels between them are to be seen.
    """
    folded = fold_batch_norm(graph) if fold else Rewritten(graph, ())
    parted = _parted(folded.graph)
    norms = {note.layer: named_now(note.into, parted.instead) for note in folded.notes if note.into}
    return Prepared(_with_gammas(parted.graph), {**parted.instead, **norms})


def _with_gammas(graph: Graph) -> Graph:
    layers = {name: _with_gamma(layer) for name, layer in graph.layers.items()}
    return graph._replace(layers=layers)


def _with_gamma(layer: Layer) -> Layer:
    if layer.kind.__name__ not in affine.BATCH_NORM or "gamma" in layer.weights:
        return layer
    gamma = np.ones_like(layer.weights["moving_mean"])
    return layer._replace(config={**layer.config, "scale": True}, weights={"gamma": gamma, **layer.weights})


def _parted(graph: Graph) -> Prepared:
    draft = Draft(graph)
    instead = {}
    for call in graph.calls:
        layer = graph.layers[call.layer]
        plain = layer.config.get("padding") in ("valid", "same") and layer.config.get("data_format") == "channels_last"
        if layer.kind.__name__ in _SEPARABLE and plain and len(list(graph.calls_of(layer.name))) == 1:
            halves = _halves(layer, call, draft)
            draft.replace(call, *halves)
            instead[layer.name] = tuple(half.layer.name for half in halves)
    return Prepared(draft.graph(), instead)


def _halves(layer: Layer, call: Call, draft: Draft) -> list[Step]:
    """A depthwise convolution, and a pointwise one that keeps the layer's name."""
    rank = _SEPARABLE[layer.kind.__name__]
    config, kernel = layer.config, layer.weights["depthwise_kernel"]
    first = getattr(tf_keras.layers, f"DepthwiseConv{rank}")(
        **{key: config[key] for key in ("kernel_size", "strides", "padding", "depth_multiplier", "dilation_rate")},
        use_bias=False,
        dtype=config.get("dtype", "float32"),
        name=distinct(f"{layer.name}_depthwise", draft.layers),
    )
    second = getattr(tf_keras.layers, f"Conv{rank}")(
        config["filters"], 1, name=layer.name, **{key: config[key] for key in _PASSED_ON if key in config}
    )
    pointwise = {"kernel": layer.weights["pointwise_kernel"]}
    if "bias" in layer.weights:
        pointwise["bias"] = layer.weights["bias"]
    shape = draft.tensors[call.outputs[0]].shape
    channels = kernel.shape[-1] * kernel.shape[-2]
    return [
        Step(Layer(first.name, type(first), first.get_config(), {"depthwise_kernel": kernel}), (*shape[:-1], channels)),
        Step(Layer(layer.name, type(second), second.get_config(), pointwise), shape),
    ]


class Path(NamedTuple):
    """Where the channels of a layer go: the tensors they stand in, and the layers that mix them."""

    tensors: tuple[int, ...]
    consumers: tuple[str, ...]


class Split(NamedTuple):
    """A graph, and how many channels were added to it."""

    graph: Graph
    channels: int


def split_channels(graph: Graph, extents: Extents, share: float) -> Split:
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
