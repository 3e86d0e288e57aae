"""The table of operators that the Edge TPU compiler maps, as it is published."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import msgspec

_TABLE = Path(__file__).parent / "operators.toml"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of operators.toml."""


class Row(_Table, frozen=True, kw_only=True):
    """Operators that share their limits.

    Attributes:
        names: of TFLite's BuiltinOperator.
        limits: what has to hold, by its name in `limits`.
        limitation: the same for people.
        parameters: positions of inputs that must be constant.
        most_elements: of the input; 0 where it may be as large as it likes.
        float_reason: the compiler's word where an operator that it maps reads or writes another type than 8 bits.
    """

    names: tuple[str, ...]
    limits: tuple[str, ...] = ()
    limitation: str = ""
    parameters: tuple[int, ...] = ()
    most_elements: int = 0
    float_reason: Literal["type", "unspecified"] = "type"


class Compiler(_Table, frozen=True, kw_only=True):
    """The compiler that the table describes.

    Attributes:
        runtime: the newest TensorFlow Lite runtime whose operator versions it reads.
        on_chip_memory_bytes: what parameters and the program share.
    """

    name: str
    runtime: str
    on_chip_memory_bytes: int


class Interpolation(_Table, frozen=True, kw_only=True):
    """`largest_factor`: by which a resize may enlarge or shrink a side."""

    largest_factor: float


class Activations(_Table, frozen=True, kw_only=True):
    """How much of the chip's memory activations take: between `least` and `most` of what is alive together."""

    least: float
    most: float


class Operators(_Table, frozen=True, kw_only=True):
    """The whole table; `sources` says where each part was read."""

    compiler: Compiler
    interpolation: Interpolation
    activations: Activations
    operators: tuple[Row, ...]
    sources: dict[str, str]

    def row(self, operator: str) -> Row | None:
        """What holds for an operator; None for one that the compiler does not know."""
        return next((row for row in self.operators if operator in row.names), None)


@functools.cache
def load() -> Operators:
    """The table that edgebuild brings."""
    return msgspec.toml.decode(_TABLE.read_bytes(), type=Operators)
