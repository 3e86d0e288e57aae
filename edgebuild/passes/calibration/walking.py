"""A network run call by call on calibration samples, in float and as it is quantized, side by side.

Each layer can so be changed by what it is given in the quantized network, where all before it has been changed already.
Several ways to change layers are walked together: what the float network makes is the same for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.passes.calibration import correcting
from edgebuild.passes.calibration.grid import Array, Range, onto, with_weights_onto
from edgebuild.passes.calibration.points import KERNELS, Plan
from edgebuild.passes.graph import running
from edgebuild.passes.graph.building import filled
from edgebuild.passes.graph.ir import Call, Graph, Layer
from edgebuild.passes.graph.running import Pool

_BATCH_BYTES = 50_000_000  # of what a layer takes and makes at a time

# Takes a layer, its input in the float network and in the quantized one, [samples, ...]; gives the layer changed.
Refine = Callable[[Layer, Array, Array], Layer]


class Way(NamedTuple):
    """A way to change layers.

    Attributes:
        refine: changes a layer's kernel; None leaves it.
        like: the number of an earlier way, whose kernels are taken instead.
        corrects: whether biases then bring the means of channels back.
    """

    refine: Refine | None = None
    like: int | None = None
    corrects: bool = False


def refined(plan: Plan, ranges: Mapping[int, Range], samples: Sequence[Array], refine: Refine) -> Graph:
    """The plan's graph with its layers with kernels changed in one way; see `walk`."""
    return walk(plan, ranges, samples, [Way(refine)])[0]


def walk(
    plan: Plan, ranges: Mapping[int, Range], samples: Sequence[Array], ways: Sequence[Way], pool: Pool | None = None
) -> list[Graph]:
    """The plan's graph with its layers with kernels changed, in the order of their calls: one for each way.

    The quantized network has activations on the grids of their ranges and kernels on those of the converter, rounded to
    the nearest value where `refine` did not put them on one. Layers that are used more than once stay as they are, and
    so do those that the plan leaves to float.

    Args:
        plan: the network with its points.
        ranges: of points; where one has none its values stay exact.
        samples: an array for each input; see `samples_within` for how many.
        ways: how layers are changed.
        pool: of layers.
    """
    walker = _Walker(plan, ranges, ways, pool or Pool())
    for item, array in zip(plan.graph.inputs, samples, strict=True):
        walker.keep(item.tensor, [array] * (1 + len(ways)))
    for call, last in zip(plan.graph.calls, running.last_uses(plan.graph), strict=True):
        walker.do(call)
        for tensor in last:
            walker.live.pop(tensor, None)
    return [plan.graph._replace(layers=layers) for layers in walker.layers]


class _Walker:
    """Where a walk is: `live` has the float network's value of each tensor first, then that of each way's network."""

    def __init__(self, plan: Plan, ranges: Mapping[int, Range], ways: Sequence[Way], pool: Pool) -> None:
        self._plan, self._ranges, self._ways = plan, ranges, ways
        self._uses = Counter(call.layer for call in plan.graph.calls)
        self._pool = pool
        self.live: dict[int, list[Array]] = {}
        self.layers = [dict(plan.graph.layers) for _ in ways]

    def keep(self, tensor: int, values: Sequence[Array]) -> None:
        """Take values, which the quantized networks have on the grid of the tensor's range."""
        exact, *given = values
        chosen = self._ranges.get(tensor)
        if chosen is not None:
            done = {id(array): onto(array, chosen) for array in {id(array): array for array in given}.values()}
            given = [done[id(array)] for array in given]
        self.live[tensor] = [exact, *given]

    def do(self, call: Call) -> None:
        """One call in all networks."""
        layer, inputs = self._plan.graph.layers[call.layer], tuple(dict.fromkeys(call.inputs))
        is_floating = layer.name in self._plan.floating
        is_sole = self._uses[layer.name] == 1 and len(inputs) == 1
        if layer.kind.__name__ in KERNELS and is_sole and not is_floating:
            self._changed(call, layer, self.live[inputs[0]])
            return
        rounded = layer if is_floating else with_weights_onto(layer)
        known: dict[tuple[int, ...], list[Array]] = {}
        results = []
        for number in range(1 + len(self._ways)):
            given = [self.live[tensor][number] for tensor in inputs]
            key = (*map(id, given), 0 if number and rounded is not layer else 1)
            if key not in known:
                known[key] = self._run(call, rounded if number else layer, given)
            results.append(known[key])
        for position, tensor in enumerate(call.outputs):
            self.keep(tensor, [result[position] for result in results])

    def _changed(self, call: Call, layer: Layer, values: Sequence[Array]) -> None:
        """A layer with a kernel: what it makes before its activation tells by how much means are off."""
        exact, *given = values
        activation = tf_keras.activations.get(layer.config.get("activation"))
        (before,) = self._run(call, _linear(layer), [exact])
        results = [_active(activation, before)]
        for number, (way, array) in enumerate(zip(self._ways, given, strict=True)):
            changed = layer if way.like is None else self._with_kernels_of(way.like, layer)
            if way.refine is not None:
                changed = way.refine(layer, exact, array)
            (made,) = self._run(call, _linear(with_weights_onto(changed)), [array])
            if way.corrects and correcting.takes(layer):
                shift = correcting.shift(before, made)
                changed, made = correcting.shifted(changed, shift), made + shift.astype(np.float32)
            self.layers[number][layer.name] = changed
            results.append(_active(activation, made))
        self.keep(call.outputs[0], results)

    def _with_kernels_of(self, way: int, layer: Layer) -> Layer:
        weights = self.layers[way][layer.name].weights
        return layer._replace(weights={name: weights.get(name, array) for name, array in layer.weights.items()})

    def _run(self, call: Call, layer: Layer, given: Sequence[Array]) -> list[Array]:
        return run(self._plan.graph, call, layer, given, self._pool)


def run(graph: Graph, call: Call, layer: Layer, given: Sequence[Array], pool: Pool | None = None) -> list[Array]:
    """The outputs of one call with a layer of the caller's, on the call's inputs, each of them once."""
    pool, parts, taken = pool or Pool(), [], tuple(dict.fromkeys(call.inputs))
    # Rows that become one, or come from one, stay together.
    size = max(len(given[0]), 1) if running.changes(layer, graph, call) else _rows(graph, call)
    for start in range(0, len(given[0]), size):
        batch = [tf.constant(array[start : start + size]) for array in given]
        args, kwargs = filled(call, dict(zip(taken, batch, strict=True)))
        parts.append([tensor.numpy() for tensor in pool.call(layer, args, kwargs)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def samples_within(graph: Graph, limit_bytes: int) -> int:
    """How many samples can be walked (at least 1) so that what is alive of them in two networks stays within a limit.

    What a layer makes of a batch on the way comes on top.
    """
    return max(limit_bytes // (2 * running.bytes_alive(graph)), 1)


def _rows(graph: Graph, call: Call) -> int:
    """How many rows a call takes at a time."""
    return max(1, _BATCH_BYTES // running.bytes_of(graph, (*call.inputs, *call.outputs)))


def _linear(layer: Layer) -> Layer:
    return layer._replace(config={**layer.config, "activation": "linear"})


def _active(activation: Any, values: Array) -> Array:
    """An activation's values, some samples at a time."""
    if activation is tf_keras.activations.linear:
        return values
    size = max(1, _BATCH_BYTES // values[:1].nbytes)
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    return np.concatenate([activation(tf.constant(part)).numpy() for part in parts])
