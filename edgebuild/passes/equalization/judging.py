"""How near int8 with min-max ranges comes to the float network, simulated: by that whole networks are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgebuild.passes.calibration import points, simulation
from edgebuild.passes.calibration.grid import Range, nudged
from edgebuild.passes.equalization.scaling import Scales, Scaling, rescaled, with_fixed
from edgebuild.passes.equalization.statistics import Batch, Extents, rows_alive
from edgebuild.passes.graph import running
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery.channels import Vector

_ROWS = 64  # samples whose answers are compared, taken evenly from all
_HELD_OUT = 4  # one sample of so many
_TOO_FEW = 8  # of fewer samples none can be spared


class Halves(NamedTuple):
    """Data divided: what scales and ranges are of, and what judges them. Of too few samples both are all."""

    learnt: Sequence[Batch]
    judged: Sequence[Batch]


def divided(batches: Sequence[Batch]) -> Halves:
    """One sample of so many is held out, evenly spread."""
    if sum(len(batch[0]) for batch in batches) < _TOO_FEW:
        return Halves(batches, batches)
    whole = [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
    is_judged = np.arange(len(whole[0])) % _HELD_OUT == 0
    return Halves([[array[~is_judged] for array in whole]], [[array[is_judged] for array in whole]])


class Judge:
    """Simulates a network that is quantized with scales, and compares what it makes before a softmax.

    Args:
        graph: with batch norms folded where they can be.
        scaling: its trace.
        data: samples, some of which outputs are compared on.
        pool: of layers.
    """

    def __init__(self, graph: Graph, scaling: Scaling, data: Sequence[Batch], pool: running.Pool) -> None:
        self._graph, self._scaling = graph, scaling
        self._plan = points.plan(graph)
        whole, rows = running.evenly(data, _ROWS), rows_alive(self._plan.graph)
        self._some = [[array[start : start + rows] for array in whole] for start in range(0, len(whole[0]), rows)]
        self._runner = running.Runner(self._plan.graph, self._plan.logits, pool)
        self._exact = simulation.outputs(self._runner, self._some)

    def score_db(self, scales: Scales, extents: Extents) -> float:
        """The score of the outputs in int8 (see `simulation.Fidelity`).

        Args:
            scales: of the network's channels.
            extents: without scales, of what `watched` names.
        """
        layers = points.plan(rescaled(self._graph, self._scaling, scales)).graph.layers
        chosen = self._ranges(scales, extents)
        quantized = simulation.outputs(self._runner, self._some, simulation.rounded(layers), chosen)
        return simulation.fidelity(self._exact, quantized).score_db

    def _ranges(self, scales: Scales, extents: Extents) -> dict[int, Range]:
        """Min-max: channels are divided by their scales, and so are the least and the largest value of each."""
        factors, found = with_fixed(scales), {}
        for point in self._plan.points:
            vector = _vector(self._plan, self._scaling, point)
            low, high = (ends if vector is None else ends / factors[vector] for ends in extents[point])
            found[point] = float(low.min()), float(high.max())
        return {point: nudged(*ends) for point, ends in found.items() if min(ends[0], 0) < max(ends[1], 0)}


def watched(graph: Graph, scaling: Scaling) -> tuple[Graph, dict[int, int]]:
    """A graph that computes the same and has the tensors that get ranges, and these with the axis of their channels."""
    plan, found = points.plan(graph), {}
    for point in plan.points:
        axis = scaling.scaled_axis(_like(plan, scaling, point))
        found[point] = len(plan.graph.tensors[point].shape) - 1 if axis is None else axis
    return plan.graph, found


def _vector(plan: points.Plan, scaling: Scaling, point: int) -> Vector | None:
    """The class of each channel of a point; None where it has no scales."""
    tensor = _like(plan, scaling, point)
    axis = scaling.scaled_axis(tensor)
    return None if axis is None else scaling.axes[tensor][axis]


def _like(plan: points.Plan, scaling: Scaling, point: int) -> int:
    """A tensor of the traced graph that has the scales of a point: of one before a split activation that behind it."""
    while point not in scaling.axes:
        (point,) = next(call.outputs for call in plan.graph.calls if point in call.inputs)
    return point
