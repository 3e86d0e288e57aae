"""The tensor arena that an artifact needs: what TFLM records, and what it needs to get there.

The figures are those of this machine, whose pointers have 64 bits. The same library with the same kernels needs at most
as much where they have 32: activations, scratch memory and quantization parameters are as large, structures that hold
pointers and sizes (TfLiteEvalTensor, TfLiteTensor, NodeAndRegistration, the allocator's own) are smaller, and no type
is aligned more strictly; `narrow` says how much less it can be. This does not hold for kernels made for a processor:
those of CMSIS-NN, ESP-NN and others may ask for scratch memory that the reference kernels, which ran here, do without.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from pathlib import Path

from edgebuild.actions.runtimes import ArenaJob
from edgebuild.child import Say
from edgebuild.core.arena import Arena, ArenaPart
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes.tflm import narrow
from edgebuild.runtimes.tflm.interpreter import Micro
from edgebuild.runtimes.tflm.narrow import Loaded
from edgebuild.units import format_bytes

_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_STEP_BYTES = 8
_PART = re.compile(r"'([^']+)' used (\d+) bytes with alignment overhead \(requested (\d+) bytes for (\d+) ")


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
    loaded = Loaded(_required_bytes(path, sizes["total"], job.most_bytes), sizes["head"], sizes["tail"])
    return Arena(
        required_bytes=loaded.required,
        recorded_bytes=sizes["total"],
        head_bytes=loaded.head,
        tail_bytes=loaded.tail,
        parts=parts,
        narrow_least_bytes=narrow.least_bytes(loaded, parts, inspect(path.read_bytes(), path.name).graphs),
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
