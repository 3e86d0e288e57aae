"""What TensorFlow Lite Micro can be asked for, and what it answers. Scoring takes and answers what LiteRT's does."""

from __future__ import annotations

import msgspec

from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import AtLeastOne, Count, Preprocess

# No microcontroller has more, and what an arena does not use of it costs the host nothing.
MOST_ARENA_BYTES = 256 * 2**20


class ArenaJob(msgspec.Struct, frozen=True, kw_only=True):
    """Find the tensor arena that an artifact needs; one that needs more than `most_bytes` is refused."""

    artifact: str
    most_bytes: AtLeastOne = MOST_ARENA_BYTES


class KernelsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Find which operators have no kernel in TFLM; by their names as in model.Operator."""

    operators: tuple[str, ...]


class MissingKernels(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the operators asked for that TFLM cannot run, in their order."""

    operators: tuple[str, ...]


class SampleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run one sample of a split: the one at `row`. `spec` has its inputs in the network's order.

    The next sample is run as well where the artifact keeps state, which is reset in between unless it `streams`.
    """

    artifact: str
    spec: ArtifactSpec
    samples: str
    preprocess: Preprocess
    row: Count = 0
    streams: bool = False


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the inputs stored and the outputs then held, in the file's order: raw bytes, little endian, row-major."""

    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    following: Sample | None = None
