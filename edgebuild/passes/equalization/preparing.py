"""Networks rewritten so that more of their channels can have scales: they compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tf_keras

from edgebuild.passes.graph import affine
from edgebuild.passes.graph.editing import Draft, Step, distinct
from edgebuild.passes.graph.folding import Rewritten, fold_batch_norm
from edgebuild.passes.graph.ir import Call, Graph, Layer
from edgebuild.readback import named_now

_SEPARABLE = {"SeparableConv1D": "1D", "SeparableConv2D": "2D"}
_PASSED_ON = ("activation", "use_bias", "trainable", "dtype")


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
