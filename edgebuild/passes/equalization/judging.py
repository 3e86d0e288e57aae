"""How near int8 with min-max ranges comes to the float network, simulated: by that whole networks are compared."""

from __future__ import annotations

from collections.abc import Sequence

from edgebuild.passes.calibration import points, simulation
from edgebuild.passes.calibration.grid import Range, nudged
from edgebuild.passes.equalization.statistics import Batch, extents
from edgebuild.passes.graph.ir import Graph

_ROWS = 64  # samples whose answers are compared, taken evenly from all


def fidelity_db(graph: Graph, batches: Sequence[Batch]) -> float:
    """The score of a network's int8 answers before a softmax (see `simulation.Fidelity`).

    Args:
        graph: with batch norms folded where they can be.
        batches: all data, which the ranges are of.
    """
    plan = points.plan(graph)
    ranges = _ranges(plan, batches)
    exact = plan.graph._replace(outputs=plan.logits)
    some = _some(batches)
    answers = [simulation.answers(item, some) for item in (exact, simulation.quantized(exact, ranges))]
    return simulation.fidelity(*answers).score_db


def _ranges(plan: points.Plan, batches: Sequence[Batch]) -> dict[int, Range]:
    last_axes = {point: len(plan.graph.tensors[point].shape) - 1 for point in plan.points}
    found = {
        point: (float(extent.low.min()), float(extent.high.max()))
        for point, extent in extents(plan.graph, last_axes, batches).items()
    }
    return {point: nudged(*ends) for point, ends in found.items() if min(ends[0], 0) < max(ends[1], 0)}


def _some(batches: Sequence[Batch]) -> list[Batch]:
    """Parts of all batches, so that they come to no more samples than are compared."""
    total = sum(len(batch[0]) for batch in batches)
    step = -(-total // _ROWS)
    return [[array[::step] for array in batch] for batch in batches]
