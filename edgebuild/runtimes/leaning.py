"""Making an artifact lean and proving it: the child that strips and packs a file, and plans its arena.

What it hands out gave the same outputs as the given file, bit for bit, or is the given file.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgebuild.actions.conversion import ARTIFACT, Leaned, LeanJob
from edgebuild.actions.runtimes import ArenaJob
from edgebuild.child import Say
from edgebuild.core.delivery import Leaner
from edgebuild.core.inspection import Graph
from edgebuild.core.target import Interpreter
from edgebuild.flatbuffer import memory_plan, reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting.lean import lean
from edgebuild.runtimes.same_outputs import SameOutputsJob, same_outputs
from edgebuild.runtimes.tflm import wheel
from edgebuild.runtimes.tflm.arena import measure

# Random samples for a comparison: fewer of large networks, which take a second for a billion of MACs in some kernels.
_FEWEST_SAMPLES, _MOST_SAMPLES = 2, 64
_MOST_MACS = 2_000_000_000


def make_lean(job: LeanJob, say: Say) -> Leaned:
    """Write the file lean, as far as that changes no output.

    Raises:
        StepError: the file is damaged, or a runtime refuses it.
    """
    given, out = Path(job.artifact).read_bytes(), _made(job)
    out.write_bytes(given)
    _try(job, lean(given, job.keep), say)
    named, reordered, planned = given, False, False
    if job.runtime == Interpreter.TFLM:
        ordered = memory_plan.arena_order(given)
        reordered = ordered != given and _try(job, lean(ordered, job.keep), say)
        named = ordered if reordered else given
        # Where kernels' scratch memory ends up only a run can tell.
        planned = _has_tflm(job) and _try(job, memory_plan.planned(out.read_bytes()), say)
    before, after = inspect(given, "the file"), inspect(out.read_bytes(), "the lean file")
    return Leaned(
        leaner=Leaner(
            before_bytes=before.size_bytes,
            after_bytes=after.size_bytes,
            payload_bytes=sum(_payload(graph) for graph in after.graphs),
            before_activations_bytes=before.graphs[0].memory.peak_bytes,
            after_activations_bytes=after.graphs[0].memory.peak_bytes,
            verified_on=tuple(_runs(job)),
        ),
        before=before.sections,
        after=after.sections,
        tensors=tuple(operator.tensor for operator in reader.parse(named, "the file").operators),
        reordered=reordered,
        planned=planned,
    )


def _try(job: LeanJob, data: bytes, say: Say) -> bool:
    """Put a changed file into `out` if no output changes and it takes less arena, or as much arena and fewer bytes."""
    out = _made(job)
    kept = out.read_bytes()
    if data == kept:
        return False
    kept_arena = _arena_bytes(job, say)
    out.write_bytes(data)
    pays = (_arena_bytes(job, say), len(data)) < (kept_arena, len(kept))
    if pays and not any(same_outputs(asked, say).differing for asked in _runs(job).values()):
        return True
    out.write_bytes(kept)
    return False


def _runs(job: LeanJob) -> dict[str, SameOutputsJob]:
    """The comparisons, by what is run."""
    macs = inspect(Path(job.artifact).read_bytes(), "the file").macs
    samples = min(_MOST_SAMPLES, max(_FEWEST_SAMPLES, _MOST_MACS // max(1, macs)))
    plain = SameOutputsJob(artifact=job.artifact, other=str(_made(job)), most_samples=samples)
    found = {f"litert {kernels}": msgspec.structs.replace(plain, kernels=kernels) for kernels in job.kernels}
    if _has_tflm(job):
        found["tflm"] = msgspec.structs.replace(plain, runtime=Interpreter.TFLM)
    return found


def _arena_bytes(job: LeanJob, say: Say) -> int:
    """TFLM's arena, or what its planner is known to need of it; nothing for other runtimes."""
    if _has_tflm(job):
        return measure(ArenaJob(artifact=str(_made(job))), say).required_bytes
    if job.runtime == Interpreter.TFLM:
        return memory_plan.head_bytes(inspect(_made(job).read_bytes(), "the file").graphs[0])
    return 0


def _has_tflm(job: LeanJob) -> bool:
    return job.runtime == Interpreter.TFLM and wheel.version() is not None


def _payload(graph: Graph) -> int:
    """The bytes of its constants, shared ones once."""
    return sum({tensor.buffer: tensor.constant_bytes for tensor in graph.tensors}.values())


def _made(job: LeanJob) -> Path:
    return Path(job.out) / ARTIFACT
