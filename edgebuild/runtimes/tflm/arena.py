"""The tensor arena that an artifact needs: what TFLM records, and what it needs to get there.

The figures are those of this machine, whose pointers have 64 bits. The same library with the same kernels needs at most
as much where they have 32: activations, scratch memory and quantization parameters are as large, structures that hold
pointers and sizes (TfLiteEvalTensor, TfLiteTensor, NodeAndRegistration, the allocator's own) are smaller, and no type
is aligned more strictly; `_least_bytes` says how much less it is. This does not hold for kernels made for a processor:
those of CMSIS-NN, ESP-NN and others may ask for scratch memory that the reference kernels, which ran here, do without.

What differs is the size of structures (tensorflow/lite/micro: c/common.h, micro_allocator.h, memory_planner), all of
them in the arena's tail, and in what is there only while a network is loaded. Activations, scratch memory, variables
and the multipliers of channels are as large. Compilers for Arm without an operating system make enums a byte
(-fshort-enums of the AAPCS), others four: the least counts the former.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edgebuild.actions.runtimes import ArenaJob
from edgebuild.child import Say
from edgebuild.core.device import Arena, ArenaPart
from edgebuild.core.inspection import Graph, Operation
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes.tflm.interpreter import Micro
from edgebuild.units import format_bytes

_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_STEP_BYTES = 8
_PART = re.compile(r"'([^']+)' used (\d+) bytes with alignment overhead \(requested (\d+) bytes for (\d+) ")
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


def measure(job: ArenaJob, _say: Say) -> Arena:
    """Load and run the artifact in an ample arena and read what it took of it; then find the smallest that will do.

    Raises:
        StepError: TFLM refused the artifact, or it needs more than the job allows.
        UnavailableError: TFLM is not installed.
    """
    path = Path(job.artifact)
    report = _ran(path, job.most_bytes).allocations()
    sizes = {which: int(size) for which, size in _ALLOCATION.findall(report)}
    if len(sizes) != 3:
        raise StepError(f"TensorFlow Lite Micro did not tell the arena of {path.name}", report)
    parts = tuple(
        ArenaPart(name=name, used_bytes=int(used), requested_bytes=int(asked), allocations=int(count))
        for name, used, asked, count in _PART.findall(report)
    )
    loaded = _Loaded(_required_bytes(path, sizes["total"], job.most_bytes), sizes["head"], sizes["tail"])
    return Arena(
        required_bytes=loaded.required,
        recorded_bytes=sizes["total"],
        head_bytes=loaded.head,
        tail_bytes=loaded.tail,
        parts=parts,
        narrow_least_bytes=_least_bytes(loaded, parts, inspect(path.read_bytes(), path.name).graphs),
    )


def _required_bytes(path: Path, recorded_bytes: int, most_bytes: int) -> int:
    """The smallest arena that loads the artifact and runs it, found by trying.

    What was recorded is where the search begins. Loading may need more for a while than it keeps; and where the arena's
    end lies decides how many bytes are lost to the alignment of what is allocated down from it, so that less may do
    than an arena of another size has recorded.
    """
    enough = recorded_bytes
    if not _runs_in(path, recorded_bytes):
        enough = _bisected(path, recorded_bytes, most_bytes)
    # Structures at the end are aligned to this: an arena between two multiples does for what the lower one does.
    while enough > _STEP_BYTES and _runs_in(path, enough - _STEP_BYTES):
        enough -= _STEP_BYTES
    return enough


def _bisected(path: Path, too_small: int, most_bytes: int) -> int:
    """An arena that does, of which one byte less does not, above one that is too small."""
    enough = min(2 * too_small, most_bytes)
    while enough < most_bytes and not _runs_in(path, enough):
        too_small, enough = enough, min(2 * enough, most_bytes)
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if _runs_in(path, middle):
            enough = middle
        else:
            too_small = middle
    return enough


def _runs_in(path: Path, arena_bytes: int) -> bool:
    """Tried in a process of its own: TFLM crashes in an arena that does not hold what it sets up first."""
    with warnings.catch_warnings():
        # Python 3.12 warns of threads that a copy of the process would miss; this one runs TFLM alone, and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(StepError):
            _ran(path, arena_bytes)
            code = 0
        os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _ran(path: Path, arena_bytes: int) -> Micro:
    try:
        micro = Micro(path, arena_bytes)
        micro.run_zeros()
    except StepError as error:
        if "Failed to allocate" in error.why or "Failed to resize" in error.why:
            raise StepError(
                f"{path.name} does not fit into an arena of {format_bytes(arena_bytes)}",
                error.why,
                "Make the network, or its inputs, smaller.",
            ) from None
        raise
    return micro


class _Loaded(NamedTuple):
    """Bytes of an arena with 64-bit pointers; see core.arena.Arena."""

    required: int
    head: int
    tail: int


def _least_bytes(loaded: _Loaded, parts: Iterable[ArenaPart], graphs: Iterable[Graph]) -> int:
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
