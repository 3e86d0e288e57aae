"""The arena of a core with 32-bit pointers, from what was measured with 64-bit ones: at least so much.

What differs is the size of structures (tensorflow/lite/micro: c/common.h, micro_allocator.h, memory_planner), all of
them in the arena's tail, and in what is there only while a network is loaded. Activations, scratch memory, variables
and the multipliers of channels are as large. Compilers for Arm without an operating system make enums a byte
(-fshort-enums of the AAPCS), others four: the least counts the former.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from edgebuild.core.arena import ArenaPart
from edgebuild.core.inspection import Graph, Operation

# Of structures that hold pointers, sizes and enums alone: what is left of their 64-bit size, by the allocator's names.
_HALF = frozenset({"TfLiteEvalTensor data", "NodeAndRegistration struct"})  # 24 to 12 bytes, 64 to 32
_TENSORS = "Persistent TfLiteTensor data"  # 64 to 40 bytes, with short enums to 32
_QUANTIZATION = "Persistent TfLiteTensor quantization data"
# A TfLiteAffineQuantization has 24 and 12 bytes; the zero points beside it are as large.
_QUANTIZATION_SAVED_BYTES, _ALLOCATIONS_EACH = 12, 2
_KERNELS = "Persistent buffer data"
# Kernels that keep a multiplier and a shift for each output channel, and where their weights have that dimension.
_BY_CHANNEL = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": -1, "TRANSPOSE_CONV": 0}
_CHANNEL_BYTES = 8
_INTEGERS = frozenset({"int8", "int16"})
# Allocator, planner and the options of operators: pointers halve, the measured allocator also keeps records (192 bytes
# of 64 bits) that a device's does not, and options may be of short enums.
_LEAST_OF_THE_REST = 4


class Loaded(NamedTuple):
    """Bytes of an arena with 64-bit pointers; see core.arena.Arena."""

    required: int
    head: int
    tail: int


def least_bytes(loaded: Loaded, parts: Iterable[ArenaPart], graphs: Iterable[Graph]) -> int:
    """What the same kernels need at least with 32-bit pointers.

    Args:
        loaded: what was measured.
        parts: of the tail.
        graphs: of the artifact.
    """
    named = tuple(parts)
    channels = sum(_channel_bytes(operation, graph) for graph in graphs for operation in graph.operations)
    rest = max(0, loaded.tail - sum(part.used_bytes for part in named))
    tail = sum(_least(part, channels) for part in named) + rest // _LEAST_OF_THE_REST
    # What is there while loading alone is pointers and integers: at least half as much.
    return min(loaded.required, tail + max(loaded.head, (loaded.required - loaded.tail) // 2))


def _least(part: ArenaPart, channels_bytes: int) -> int:
    if part.name in _HALF or part.name == _TENSORS:
        return part.requested_bytes // 2
    if part.name == _QUANTIZATION:
        return part.requested_bytes - _QUANTIZATION_SAVED_BYTES * (part.allocations // _ALLOCATIONS_EACH)
    if part.name == _KERNELS:
        same = min(channels_bytes, part.requested_bytes)
        return same + (part.requested_bytes - same) // 2
    return part.requested_bytes


def _channel_bytes(operation: Operation, graph: Graph) -> int:
    """What an integer kernel keeps for its output channels."""
    if operation.name not in _BY_CHANNEL or len(operation.inputs) < 2:
        return 0
    weights = graph.tensors[operation.inputs[1]]
    written = graph.tensors[operation.outputs[0]].dtype
    if written not in _INTEGERS or not weights.shape:
        return 0
    return _CHANNEL_BYTES * weights.shape[_BY_CHANNEL[operation.name]]
