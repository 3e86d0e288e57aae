"""What running a graph takes: multiply-accumulates, and the bytes of the tensors that are alive together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from edgebuild.core.inspection import Memory, Operation, Tensor

Shape = tuple[int, ...]
Shapes = Sequence[Shape]


def macs_of_operator(name: str, inputs: Shapes, outputs: Shapes) -> int:
    """The multiply-accumulates of one run of an operator; 0 for one that has no kernel to multiply with.

    Args:
        name: its BuiltinOperator name.
        inputs: the shapes of its inputs, in the schema's order; () for one that is absent.
        outputs: the shapes of its outputs.
    """
    count = _COUNTS.get(name)
    return count(inputs, outputs) if count is not None and inputs and outputs else 0


def _convolution(inputs: Shapes, outputs: Shapes) -> int:
    """The filter is [out, height, width, in per group]."""
    return math.prod(outputs[0]) * math.prod(inputs[1][1:])


def _depthwise(inputs: Shapes, outputs: Shapes) -> int:
    """The filter is [1, height, width, out]."""
    return math.prod(outputs[0]) * math.prod(inputs[1][1:-1])


def _dense(inputs: Shapes, outputs: Shapes) -> int:
    """The weights are [units, in]."""
    return math.prod(outputs[0]) * inputs[1][-1]


def _transposed(inputs: Shapes, _: Shapes) -> int:
    """Inputs are the output's shape, the filter [out, height, width, in] and the data: each value meets each filter."""
    return math.prod(inputs[2]) * math.prod(inputs[1][:-1])


def _batched(inputs: Shapes, outputs: Shapes) -> int:
    """How long the inner axis is, wherever it stands: the sizes of both factors tell."""
    rows, columns = outputs[0][-2:]
    inner = math.isqrt(math.prod(inputs[0][-2:]) * math.prod(inputs[1][-2:]) // max(1, rows * columns))
    return math.prod(outputs[0]) * inner


def _recurrent(inputs: Shapes, _: Shapes) -> int:
    """Every matrix is used once a time step; [batch, time, features] or [time, batch, features]."""
    steps = math.prod(inputs[0][:-1])
    return steps * sum(math.prod(shape) for shape in inputs[1:] if len(shape) == 2 and shape[0] > 1)


_COUNTS: Mapping[str, Callable[[Shapes, Shapes], int]] = {
    "CONV_2D": _convolution,
    "CONV_3D": lambda inputs, outputs: math.prod(outputs[0]) * math.prod(inputs[1][:-1]),
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transposed,
    "BATCH_MATMUL": _batched,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
}


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
