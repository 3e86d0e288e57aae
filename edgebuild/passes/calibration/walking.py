"""A network run call by call on calibration samples, in float and as it is quantized, side by side.

Each layer can so be changed by what it is given in the quantized network, where all before it has been changed already.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.passes import calling
from edgebuild.passes.calibration.grid import Array, Range, onto, with_weights_onto
from edgebuild.passes.calibration.points import KERNELS, Plan
from edgebuild.passes.graph import batches, building
from edgebuild.passes.graph.ir import Call, Graph, Input, Layer

_BATCH = 32
_FLOAT_BYTES = 4

# Takes a layer, its input in the float network and in the quantized one, [samples, ...]; gives the layer changed.
Refine = Callable[[Layer, Array, Array], Layer]


class Twin(NamedTuple):
    """A tensor in the float network and in the quantized one, [samples, ...] each."""

    exact: Array
    given: Array


def refined(plan: Plan, ranges: Mapping[int, Range], samples: Sequence[Array], refine: Refine) -> Graph:
    """The plan's graph with its layers with kernels changed, in the order of their calls.

    The quantized network has activations on the grids of their ranges and kernels on those of the converter, rounded to
    the nearest value where `refine` did not put them on one. Layers that are used more than once stay as they are, and
    so do those that the plan leaves to float.

    Args:
        plan: the network with its points.
        ranges: of points; where one has none its values stay exact.
        samples: an array for each input; see `samples_within` for how many.
        refine: changes a layer.
    """
    live = {
        item.tensor: _at_point(Twin(array, array), ranges.get(item.tensor))
        for item, array in zip(plan.graph.inputs, samples, strict=True)
    }
    layers = dict(plan.graph.layers)
    uses = Counter(call.layer for call in plan.graph.calls)
    for call, last in zip(plan.graph.calls, _last_uses(plan.graph), strict=True):
        layer = layers[call.layer]
        twins = [live[tensor] for tensor in dict.fromkeys(call.inputs)]
        changed, is_floating = layer, layer.name in plan.floating
        if layer.kind.__name__ in KERNELS and uses[layer.name] == 1 and len(twins) == 1 and not is_floating:
            changed = refine(layer, *twins[0])
        exact = run(plan.graph, call, layer, [twin.exact for twin in twins])
        rounded = changed if is_floating else with_weights_onto(changed)
        given = run(plan.graph, call, rounded, [twin.given for twin in twins])
        layers[call.layer] = changed
        for tensor, one, other in zip(call.outputs, exact, given, strict=True):
            live[tensor] = _at_point(Twin(one, other), ranges.get(tensor))
        for tensor in last:
            live.pop(tensor, None)
    return plan.graph._replace(layers=layers)


def run(graph: Graph, call: Call, layer: Layer, given: Sequence[Array]) -> list[Array]:
    """The outputs of one call with a layer of the caller's, on the call's inputs, each of them once."""
    model = _alone(graph, call, layer)
    parts = []
    # Rows that become one, or come from one, stay together.
    size = max(len(given[0]), 1) if batches.changes(layer, graph, call) else _BATCH
    for start in range(0, len(given[0]), size):
        batch = [tf.constant(array[start : start + size]) for array in given]
        parts.append([tensor.numpy() for tensor in calling.outputs(model, batch)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def samples_within(graph: Graph, limit_bytes: int) -> int:
    """How many samples `refined` can take (at least 1) so that the twins that are alive together stay within a limit.

    Counted are the twins themselves; what a layer makes of a batch on the way comes on top.
    """
    rows = batches.rows(graph)
    sizes = {number: _FLOAT_BYTES * rows[number] * _size(graph.tensors[number].shape[1:]) for number in rows}
    alive = {item.tensor for item in graph.inputs}
    most = 1
    for call, last in zip(graph.calls, _last_uses(graph), strict=True):
        alive |= set(call.outputs)
        most = max(most, sum(sizes[tensor] for tensor in alive))
        alive -= set(last)
    return max(limit_bytes // (2 * most), 1)


def _size(shape: Sequence[int | None]) -> int:
    return math.prod(size or 1 for size in shape)


def _at_point(twin: Twin, chosen: Range | None) -> Twin:
    return twin if chosen is None else twin._replace(given=onto(twin.given, chosen))


def _last_uses(graph: Graph) -> Iterator[tuple[int, ...]]:
    """For each call the tensors that nothing takes after it, its own outputs among them."""
    last: dict[int, int] = {}
    for step, call in enumerate(graph.calls):
        last.update(dict.fromkeys((*call.inputs, *call.outputs), step))
    for step in range(len(graph.calls)):
        yield tuple(tensor for tensor, when in last.items() if when == step)


def _alone(graph: Graph, call: Call, layer: Layer) -> Any:
    """A model that does one call, for any batch."""
    taken = tuple(dict.fromkeys(call.inputs))
    tensors = {number: graph.tensors[number] for number in (*taken, *call.outputs)}
    return building.build(
        Graph(
            "call",
            {layer.name: layer},
            (call,),
            tuple(Input(f"input_{number}", number) for number in taken),
            call.outputs,
            {number: tensor._replace(shape=(None, *tensor.shape[1:])) for number, tensor in tensors.items()},
        )
    )
