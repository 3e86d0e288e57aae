"""What the package is made of, and what it is: frozen types."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from edgebuild.core.delivery import Vector
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import Preprocess

# TFLM wants the model and the arena aligned to it.
ALIGNMENT_BYTES = 16


class File(NamedTuple):
    """A file of the package; `path` is relative to its folder, with slashes."""

    path: str
    content: bytes


class Firmware(msgspec.Struct, frozen=True, kw_only=True):
    """A network to be handed over.

    Attributes:
        name: of the artifact; identifiers and file names are made of it.
        data: the .tflite file.
        spec: what was read back from it, with inputs and outputs in the file's order.
        arena_bytes: the smallest tensor arena, found on a 64-bit host; None where TFLM could not be asked.
        arena_margin: the share of it that is added for kernels that want more scratch memory.
        preprocess: what the firmware must do to samples before it quantizes them.
        labels: names of the classes, in the order of the output called `labelled`; empty where they are not known.
        vector: for the firmware to check itself; None for none.
        streams: whether its inputs are pieces of one stream, for which it keeps its state; else they are independent.
    """

    name: str
    data: bytes
    spec: ArtifactSpec
    arena_bytes: int | None
    arena_margin: float = 0.1
    preprocess: Preprocess
    labels: tuple[str, ...] = ()
    labelled: str = ""
    vector: Vector | None = None
    streams: bool = False

    @property
    def reserved_arena_bytes(self) -> int | None:
        """The arena that the package asks for: the smallest with the margin, rounded up to the alignment."""
        if self.arena_bytes is None:
            return None
        return aligned(self.arena_bytes + math.ceil(self.arena_bytes * self.arena_margin))

    @property
    def normalizes(self) -> bool:
        """Whether samples must be normalized; inputs that are whole numbers in the network too are left alone."""
        is_real = any(tensor.scale or tensor.dtype.startswith("float") for tensor in self.spec.inputs)
        return is_real and not self.preprocess.is_identity


class Flash(msgspec.Struct, frozen=True, kw_only=True):
    """Constant data that a package brings into a linked image of a 32-bit device, beside TFLM's code.

    Attributes:
        model_bytes: the array with the model, with the padding that its alignment may cost.
        label_bytes: names of classes and a pointer to each; a linker leaves them out where firmware does not use them.
    """

    model_bytes: int
    label_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.model_bytes + self.label_bytes


def aligned(size_bytes: int) -> int:
    """A size rounded up to the alignment."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
