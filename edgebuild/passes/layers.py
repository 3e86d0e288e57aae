"""The layers of a network that can be timed one by one, at the channel counts that pruning may leave."""

from __future__ import annotations

from pathlib import Path

from edgebuild.actions.compression import Layers, LayersJob
from edgebuild.child import Say
from edgebuild.passes.graph import files
from edgebuild.passes.surgery.cost import grids
from edgebuild.passes.surgery.operators import operators
from edgebuild.passes.surgery.tracing import trace


def run(job: LayersJob, _: Say) -> Layers:
    """List them; layers of equal shape are one.

    Raises:
        StepError: a size is open that a cost depends on.
    """
    graph = files.load(Path(job.network))
    found = grids(operators(graph, trace(graph)), job.multiple)
    return Layers(grids=tuple((shape, tuple(grid)) for shape, grid in found.items()))
