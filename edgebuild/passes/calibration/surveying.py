"""All samples once through the float network: what ranges have to hold, and what int8 outputs are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgebuild.passes.calibration.drawing import Drawn
from edgebuild.passes.calibration.grid import Array
from edgebuild.passes.calibration.points import Plan
from edgebuild.passes.graph.running import Pool, Runner

Ends = Mapping[int, tuple[float, float]]


class Survey(NamedTuple):
    """What the samples have shown.

    Attributes:
        chosen: the least and the largest value of each point, and 0, on the samples that ranges are chosen by.
        judged: the same on those that judge the choice.
        outputs: of these what goes into each output before a softmax.
        sizes: the root of the mean power of that on the samples chosen by.
    """

    chosen: Ends
    judged: Ends
    outputs: list[Array]
    sizes: tuple[float, ...]


def survey(plan: Plan, drawn: Drawn, pool: Pool) -> Survey:
    """Run the float network on all samples, each of them once."""
    runner = Runner(plan.graph, {*plan.points, *plan.logits}, pool, keeps=False)
    chosen, outputs = _shown(plan, runner, drawn.chosen_by)
    judged, judged_outputs = _shown(plan, runner, drawn.judged_by)
    powers = [float(np.square(array, dtype=np.float64).mean()) for array in outputs]
    return Survey(chosen, judged, judged_outputs, tuple(math.sqrt(power) or 1.0 for power in powers))


def _shown(plan: Plan, runner: Runner, batches: Iterable[Sequence[Array]]) -> tuple[Ends, list[Array]]:
    found = dict.fromkeys(plan.points, (0.0, 0.0))
    outputs: dict[int, list[Array]] = {tensor: [] for tensor in plan.logits}
    for batch in batches:
        for tensor, value in runner.tensors(batch):
            if tensor in found or tensor in outputs:
                array = value.numpy()
                if tensor in found:
                    low, high = found[tensor]
                    found[tensor] = min(low, float(array.min())), max(high, float(array.max()))
                if tensor in outputs:
                    outputs[tensor].append(array)
    return found, [np.concatenate(outputs[tensor]) for tensor in plan.logits]
