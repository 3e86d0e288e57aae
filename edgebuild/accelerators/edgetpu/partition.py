"""The parts into which a graph falls between an accelerator and the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edgebuild.core.inspection import Graph, Operation


class Part(NamedTuple):
    """Operators that run together: their positions, and whether the accelerator can run them."""

    is_supported: bool
    operators: tuple[int, ...]


def parts(graph: Graph, supported: Sequence[bool]) -> Iterator[Part]:
    """Group operators as TensorFlow Lite does it for delegates: each part takes all that is ready for its place.

    An operator is ready once all that it reads is there. The first that is ready decides where a part runs; the part
    takes every further one of the same place that is, or by that becomes, ready. (TensorFlow Lite,
    lite/graph_info.h, PartitionGraphIntoIndependentNodeSubsets.) Operators that wait for each other are left out.

    Args:
        graph: the graph, its operators in the order of execution.
        supported: for each operator whether the accelerator can run it.
    """
    missing = {tensor for operation in graph.operations for tensor in operation.outputs}
    waiting = list(range(len(graph.operations)))
    while (part := _next(graph.operations, supported, waiting, missing)) is not None:
        yield part
        taken = set(part.operators)
        waiting = [position for position in waiting if position not in taken]


def _next(
    operations: Sequence[Operation], supported: Sequence[bool], waiting: Sequence[int], missing: set[int]
) -> Part | None:
    """The next part; takes what it writes out of `missing`."""
    first = next((position for position in waiting if _is_ready(operations[position], missing)), None)
    if first is None:
        return None
    candidates = [position for position in waiting if supported[position] == supported[first]]
    taken: list[int] = []
    while True:
        ready = next((position for position in candidates if _is_ready(operations[position], missing)), None)
        if ready is None:
            return Part(supported[first], tuple(taken))
        candidates.remove(ready)
        taken.append(ready)
        missing.difference_update(operations[ready].outputs)


def _is_ready(operation: Operation, missing: set[int]) -> bool:
    return missing.isdisjoint(operation.inputs)
