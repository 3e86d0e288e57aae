"""Where a batch norm's affine can be carried forward to: through layers that commute with it, into linear ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edgebuild.passes.graph import affine as affines
from edgebuild.passes.graph.affine import Affine
from edgebuild.passes.graph.ir import Call, Graph, Layer, Shape

_PADS = "pads its input with zeros, which the shift does not reach"


class Absorption(NamedTuple):
    """A layer that can do an affine first, and that affine in terms of its own input's channels."""

    layer: str
    affine: Affine


class BlockedError(Exception):
    """An affine cannot be carried forward; the text says why, as the end of a sentence."""


def absorptions(graph: Graph, tensor: int, affine: Affine) -> list[Absorption]:
    """The layers that all that follows a tensor can be given to, where the affine on its last axis goes away.

    Raises:
        BlockedError: there is something else between or behind.
    """
    return list(_forward(graph, graph.consumers(), tensor, affine))


def _forward(graph: Graph, consumers: dict[int, list[Call]], tensor: int, affine: Affine) -> Iterator[Absorption]:
    if tensor in graph.outputs:
        raise BlockedError("it is an output of the network")
    for call in consumers[tensor]:
        layer = graph.layers[call.layer]
        if len(call.inputs) != 1 or len(call.outputs) != 1:
            raise BlockedError(f"{layer.name} takes other tensors too")
        if affines.takes_behind(layer):
            _require_absorbing(graph, call, affine)
            yield Absorption(layer.name, affine)
        else:
            passed = _passed(graph, call, affine)
            yield from _forward(graph, consumers, call.outputs[0], passed)


def _require_absorbing(graph: Graph, call: Call, affine: Affine) -> None:
    layer = graph.layers[call.layer]
    if len(list(graph.calls_of(layer.name))) > 1:
        raise BlockedError(f"{layer.name} is used more than once")
    if layer.config.get("data_format") == "channels_first":
        raise BlockedError(f"the channels of {layer.name} are first")
    if affine.shift.any() and not _pads_nothing(layer, graph.tensors[call.inputs[0]].shape):
        raise BlockedError(f"{layer.name} {_PADS}")


def _pads_nothing(layer: Layer, shape: Shape) -> bool:
    """Whether no output position of a layer sees padding."""
    padding = layer.config.get("padding", "valid")
    if padding == "valid":
        return True
    kernel, strides, dilation = (_tuple(layer.config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    for place, size in enumerate(kernel):
        reach, stride = (size - 1) * dilation[place] + 1, strides[place]
        if reach == 1:
            continue
        length = shape[1 + place]
        if padding != "same" or length is None or (math.ceil(length / stride) - 1) * stride + reach > length:
            return False
    return True


def _tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


class _Passage(NamedTuple):
    """An affine on what a layer takes, and the shapes of what it takes and makes."""

    layer: Layer
    affine: Affine
    before: Shape
    behind: Shape


def _passed(graph: Graph, call: Call, affine: Affine) -> Affine:
    """The affine on what a layer makes that equals the given one on what it takes."""
    layer = graph.layers[call.layer]
    rule = _RULES.get(layer.kind.__name__)
    if rule is None or layer.config.get("data_format", "channels_last") != "channels_last":
        raise BlockedError(f"{layer.name} ({layer.kind.__name__}) does not commute with it")
    before, behind = (graph.tensors[tensor].shape for tensor in (call.inputs[0], call.outputs[0]))
    return rule(_Passage(layer, affine, before, behind))


def _always(passage: _Passage) -> Affine:
    """Of layers that move values about, or average them with weights whose sum is one."""
    return passage.affine


def _linear(passage: _Passage) -> Affine:
    activation = passage.layer.config["activation"]
    if activation != "linear":
        raise BlockedError(f"{passage.layer.name} ({activation}) does not commute with it")
    return passage.affine


def _rising(passage: _Passage) -> Affine:
    """Of layers that choose the largest value: it stays the largest where the scale is not negative."""
    if (passage.affine.scale < 0).any():
        raise BlockedError(f"{passage.layer.name} takes the largest value, and a scale is negative")
    return passage.affine


def _zero(passage: _Passage) -> Affine:
    if passage.affine.shift.any():
        raise BlockedError(f"{passage.layer.name} {_PADS}")
    return passage.affine


def _reshaped(passage: _Passage) -> Affine:
    """Of layers that keep the order of values: the last axis may be joined with those before it."""
    channels, last = passage.affine.scale.size, passage.behind[-1]
    if last is None or last % channels or None in (*passage.before[1:], *passage.behind[1:]):
        raise BlockedError(f"{passage.layer.name} parts the channels")
    return Affine(*(np.tile(vector, last // channels) for vector in passage.affine))


_RULES: dict[str, Callable[[_Passage], Affine]] = {
    "Activation": _linear,
    "ActivityRegularization": _always,
    "AveragePooling1D": _always,
    "AveragePooling2D": _always,
    "AveragePooling3D": _always,
    "Cropping1D": _always,
    "Cropping2D": _always,
    "Cropping3D": _always,
    "Dropout": _always,
    "Flatten": _reshaped,
    "GlobalAveragePooling1D": _always,
    "GlobalAveragePooling2D": _always,
    "GlobalAveragePooling3D": _always,
    "GlobalMaxPooling1D": _rising,
    "GlobalMaxPooling2D": _rising,
    "GlobalMaxPooling3D": _rising,
    "Identity": _always,
    "MaxPooling1D": _rising,
    "MaxPooling2D": _rising,
    "MaxPooling3D": _rising,
    "Reshape": _reshaped,
    "SpatialDropout1D": _always,
    "SpatialDropout2D": _always,
    "SpatialDropout3D": _always,
    "UpSampling1D": _always,
    "UpSampling2D": _always,
    "UpSampling3D": _always,
    "ZeroPadding1D": _zero,
    "ZeroPadding2D": _zero,
    "ZeroPadding3D": _zero,
}
