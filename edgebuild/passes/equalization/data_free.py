"""What is known of activations without any data: batch norms tell the mean and the deviation that they make.

Nagel et al. 2019, sections 4.1.3 and 4.2: behind a batch norm values are taken to be normal with mean beta and
deviation gamma.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edgebuild.passes.equalization.absorption import rectified
from edgebuild.passes.equalization.choice import Chosen, Measures, scales_of
from edgebuild.passes.equalization.scaling import Array, Scales, Scaling, groups, rescaled
from edgebuild.passes.equalization.trial import taken
from edgebuild.passes.graph import affine as affines
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery.channels import FIXED, Role

_DEVIATIONS = 3  # as in the paper
_ROUNDS = 10
_STRENGTH = 0.5  # s = sqrt(r1 r2) / r2 is the even choice (ibid., equation 11)
_RARE = 2  # times the usual range: a cap beyond that is taken to be never reached


class Normal(NamedTuple):
    """What a layer makes, by channel: its mean and its deviation."""

    mean: Array
    deviation: Array


def normals(before: Graph, graph: Graph) -> dict[str, Normal]:
    """What batch norms tell about the layers that they were folded into.

    Args:
        before: the network as it was.
        graph: the same with batch norms folded.
    """
    found, producers = {}, before.producers()
    for call in before.calls:
        layer = before.layers[call.layer]
        maker = producers.get(call.inputs[0]) if layer.kind.__name__ in affines.BATCH_NORM else None
        if maker is not None and layer.name not in graph.layers and affines.takes_before(before.layers[maker.layer]):
            gamma = layer.weights.get("gamma", np.ones_like(layer.weights["moving_mean"]))
            beta = layer.weights.get("beta", np.zeros_like(gamma))
            found[maker.layer] = Normal(beta.astype(np.float64), np.abs(gamma.astype(np.float64)))
    return found


def lows(graph: Graph, known: Mapping[str, Normal]) -> dict[int, Array]:
    """For tensors behind a ReLU the value that channels are hardly ever below, where it is positive."""
    return {
        item.tensor: np.maximum(0, known[item.producer].mean - _DEVIATIONS * known[item.producer].deviation)
        for item in rectified(graph)
        if item.producer in known
    }


def choose(graph: Graph, scaling: Scaling, known: Mapping[str, Normal]) -> Chosen:
    """Scales that share the spread of channels evenly between activations and the weights behind them.

    Where a batch norm does not tell how large channels are, the largest weights that make them stand for it (ibid.,
    section 4.1). These depend on the scales in front, so all is done again until it hardly changes.
    """
    estimated, found = _amplitudes(graph, scaling, known), groups(graph, scaling)
    floor, scales = _floor(scaling, estimated), np.ones(scaling.classes)
    for _ in range(_ROUNDS):
        now = rescaled(graph, scaling, scales)
        weights, taking = _ranges(now, scaling), taken(now, scaling)
        for group in found:
            amplitude = estimated / scales if estimated[group.free].all() else weights
            measures = Measures(amplitude, taking, floor / scales, floor >= 1)
            strength = _STRENGTH if taking[group.free].any() else 1.0
            scales[group.free] *= scales_of(group, measures, strength, 0.0)[group.free]
    changed = tuple(number for number, group in enumerate(found) if (scales[group.free] != 1).any())
    return Chosen(scales, tuple(found), changed)


def _amplitudes(graph: Graph, scaling: Scaling, known: Mapping[str, Normal]) -> Scales:
    """By class how large its activations are likely to be; 0 where nothing is known."""
    result, behind_relu = np.zeros(scaling.classes), {item.producer for item in rectified(graph)}
    for item in scaling.factors:
        if item.layer in known and item.weight == "bias":
            mean, deviation = known[item.layer]
            largest = np.abs(mean) + _DEVIATIONS * deviation
            if item.layer in behind_relu:  # what is below zero does not come out
                largest = np.maximum(mean + _DEVIATIONS * deviation, deviation / _DEVIATIONS)
            inside = item.classes != FIXED
            np.maximum.at(result, item.classes[inside], largest[inside])
    return result


def _ranges(graph: Graph, scaling: Scaling) -> Scales:
    """By class the largest weight that makes it."""
    result = np.zeros(scaling.classes)
    for item in scaling.factors:
        if item.role == Role.PRODUCES:
            array = np.abs(graph.layers[item.layer].weights[item.weight].astype(np.float64))
            classes = np.broadcast_to(item.classes, array.shape)
            inside = classes != FIXED
            np.maximum.at(result, classes[inside], array[inside])
    return result


def _floor(scaling: Scaling, estimated: Scales) -> Scales:
    """By class the least scale with which a cap is likely never reached; infinite where nothing is known."""
    floor = np.zeros(scaling.classes)
    for cap in scaling.caps:
        inside = scaling.classes_of(cap.tensor)
        likely = np.where(estimated[inside] > 0, _RARE * estimated[inside] / cap.value, math.inf)
        floor[inside] = np.maximum(floor[inside], likely)
    return floor
