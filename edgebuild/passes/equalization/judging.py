"""How near int8 with min-max ranges comes to the float network, simulated: by that whole networks are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgebuild.passes.calibration import points, simulation
from edgebuild.passes.calibration.grid import Range, nudged
from edgebuild.passes.equalization.statistics import Batch, extents
from edgebuild.passes.graph.ir import Graph

_ROWS = 64  # samples whose answers are compared, taken evenly from all
_HELD_OUT = 4  # one sample of so many
_TOO_FEW = 8  # of fewer samples none can be spared


class Halves(NamedTuple):
    """Data divided: what scales and ranges are of, and what judges them. Of too few samples both are all."""

    learnt: Sequence[Batch]
    judged: Sequence[Batch]


def divided(batches: Sequence[Batch]) -> Halves:
    """One sample of so many is held out, evenly spread."""
    total = sum(len(batch[0]) for batch in batches)
    if total < _TOO_FEW:
        return Halves(batches, batches)
    whole = [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
    is_judged = np.arange(total) % _HELD_OUT == 0
    size = len(batches[0][0])
    learnt, judged = ([array[rows] for array in whole] for rows in (~is_judged, is_judged))
    return Halves(list(_batches(learnt, size)), list(_batches(judged, size)))


def fidelity_db(graph: Graph, data: Halves) -> float:
    """The score of a network's int8 answers before a softmax (see `simulation.Fidelity`).

    Args:
        graph: with batch norms folded where they can be.
        data: ranges are of one part, and answers are compared on the other.
    """
    plan = points.plan(graph)
    ranges = _ranges(plan, data.learnt)
    exact = plan.graph._replace(outputs=plan.logits)
    some = _some(data.judged)
    answers = [simulation.answers(item, some) for item in (exact, simulation.quantized(exact, ranges))]
    return simulation.fidelity(*answers).score_db


def _batches(arrays: Sequence[Any], size: int) -> Iterator[Batch]:
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]


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
