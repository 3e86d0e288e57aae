"""Which tensors are alive together while a graph runs, and how many bytes they take."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from edgebuild.core.inspection import Memory, Operation, Tensor


def memory(
    tensors: Sequence[Tensor], operations: Sequence[Operation], inputs: Sequence[int], outputs: Sequence[int]
) -> Memory:
    """What a graph's activations take at each operator, and where that is most; see Memory for what counts."""
    lives = _lives(tensors, operations, inputs, outputs)
    end = len(operations)
    changes = [0] * (end + 2)
    for index, (first, last) in lives.items():
        changes[first] += tensors[index].size_bytes
        changes[last + 1] -= tensors[index].size_bytes
    totals = list(itertools.accumulate(changes))
    peak_bytes = max(totals)
    fullest = totals.index(peak_bytes)
    alive = [index for index, (first, last) in lives.items() if first <= fullest <= last]
    return Memory(
        peak_bytes=peak_bytes,
        at=min(fullest, end - 1),
        alive=tuple(sorted(alive, key=lambda index: (-tensors[index].size_bytes, index))),
        steps_bytes=tuple(totals[:end]),
    )


def _lives(
    tensors: Sequence[Tensor], operations: Sequence[Operation], inputs: Sequence[int], outputs: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """The first and the last operator at which each activation is alive; one past the last operator is the end."""
    end = len(operations)
    first: dict[int, int] = dict.fromkeys(inputs, 0)
    last: dict[int, int] = {}
    for step, operation in enumerate(operations):
        for index in operation.outputs:
            first.setdefault(index, step)
            last[index] = step
        last |= dict.fromkeys(operation.inputs, step)
    states = [tensor.index for tensor in tensors if tensor.is_variable]
    first |= dict.fromkeys(states, 0)
    last |= dict.fromkeys((*outputs, *states), end)
    return {
        index: (start, max(start, last.get(index, start)))
        for index, start in first.items()
        if index >= 0 and not tensors[index].constant_bytes
    }
