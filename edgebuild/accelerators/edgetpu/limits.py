"""The table of operators that the Edge TPU compiler maps, and its limits: each a question to one operator."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from edgebuild.core.inspection import Operation, Tensor

Shape = tuple[int, ...]
_TABLE = Path(__file__).parent / "operators.toml"


class Case(NamedTuple):
    """One operator before its limits.

    Attributes:
        row: what the table says of it.
        operation: the operator.
        tensors: of its graph.
        values: of integer constants by tensor; see `prediction.predict`.
        largest_factor: by which a resize may change a side.
    """

    row: Row
    operation: Operation
    tensors: Sequence[Tensor]
    values: Mapping[int, tuple[int, ...]]
    largest_factor: float

    def input(self, position: int) -> Tensor | None:
        """The input at a position; None where it is not given."""
        given = self.operation.inputs
        return self.tensors[given[position]] if position < len(given) and given[position] >= 0 else None

    def shape(self, position: int) -> Shape:
        """The shape of the input at a position; () where it is not given. An open batch counts as 1."""
        tensor = self.input(position)
        return fixed(tensor.shape) if tensor is not None else ()

    def output_shape(self) -> Shape:
        """The shape of the first output; () for an operator without one. An open batch counts as 1."""
        outputs = self.operation.outputs
        return fixed(self.tensors[outputs[0]].shape) if outputs else ()

    def constant(self, position: int) -> tuple[int, ...] | None:
        """The values of a constant input; None where it is none, or too long to be known."""
        tensor = self.input(position)
        return self.values.get(tensor.index) if tensor is not None else None


def fixed(shape: Shape) -> Shape:
    """A shape with open dimensions as 1, which is how interpreters and compilers take them."""
    return tuple(max(1, size) for size in shape)


def holds(limit: str, case: Case) -> bool:
    """Whether an operator keeps a limit; raises KeyError for one that nothing is known of."""
    return _LIMITS[limit](case)


def names() -> frozenset[str]:
    """The limits that can be asked for."""
    return frozenset(_LIMITS)


def _is_flat(shape: Shape) -> bool:
    """Whether only the innermost dimension is larger than 1."""
    return all(size == 1 for size in shape[:-1])


def _constant_parameters(case: Case) -> bool:
    parameters = (case.input(position) for position in case.row.parameters)
    return all(tensor is None or tensor.constant_bytes > 0 for tensor in parameters)


def _no_fused_activation(case: Case) -> bool:
    return case.operation.options.get("fused_activation_function", "NONE") == "NONE"


def _equal_dilation(case: Case) -> bool:
    options = case.operation.options
    return options.get("dilation_h_factor", 1) == options.get("dilation_w_factor", 1)


def _padding_with_zeros(case: Case) -> bool:
    constant = [position for position in range(len(case.operation.inputs)) if _is_constant(case, position)]
    return not constant or (len(case.operation.inputs) == 2 and all(_is_zero(case, position) for position in constant))


def _is_constant(case: Case, position: int) -> bool:
    tensor = case.input(position)
    return tensor is not None and tensor.constant_bytes > 0


def _is_zero(case: Case, position: int) -> bool:
    tensor, values = case.input(position), case.constant(position)
    if tensor is None or values is None:
        return False
    zero_points = tensor.quantization.zero_points if tensor.quantization is not None else ()
    return set(values) == {zero_points[0] if zero_points else 0}


def _spares_batch(case: Case) -> bool:
    axes = _axes(case, 1)
    return axes is not None and 0 not in axes


def _depth_by_4(case: Case) -> bool:
    shape, axes = case.shape(0), _axes(case, 1)
    return axes is not None and (len(shape) - 1 not in axes or shape[-1] % 4 == 0)


def _axes(case: Case, position: int) -> set[int] | None:
    rank, axes = len(case.shape(0)), case.constant(position)
    return {axis % rank for axis in axes} if axes is not None and rank else None


def _axis_spares_batch(case: Case) -> bool:
    """SPLIT has its axis as its first input, PACK among its options."""
    if case.operation.name == "SPLIT":
        axes, rank = case.constant(0), len(case.shape(1))
        return axes is not None and rank > 0 and all(axis % rank for axis in axes)
    axis, rank = case.operation.options.get("axis", 0), len(case.output_shape())
    return isinstance(axis, int) and rank > 0 and axis % rank != 0


def _no_batch_padding(case: Case) -> bool:
    """Paddings are [rank, 2]: before and after each dimension."""
    paddings = case.constant(1)
    return paddings is not None and not any(paddings[:2])


def _interpolates_precisely(case: Case) -> bool:
    """Compares the sides of [batch, height, width, channels]."""
    before, after = case.shape(0), case.output_shape()
    if len(before) != 4 or len(after) != 4:
        return False
    factors = [max(new, old) / max(1, min(new, old)) for old, new in zip(before[1:3], after[1:3], strict=True)]
    return max(factors) <= case.largest_factor


def _unit_strides(case: Case) -> bool:
    options, strides = case.operation.options, case.constant(3)
    return set(strides or ()) == {1} and not options.get("ellipsis_mask") and not options.get("new_axis_mask")


_LIMITS: Mapping[str, Callable[[Case], bool]] = {
    "axis-spares-batch": _axis_spares_batch,
    "constant-parameters": _constant_parameters,
    "default-weights": lambda case: case.operation.options.get("weights_format", "DEFAULT") == "DEFAULT",
    "depth-by-4": _depth_by_4,
    "equal-dilation": _equal_dilation,
    "flat-alpha": lambda case: _is_flat(case.shape(1)),
    "flat-input": lambda case: _is_flat(case.shape(0)),
    "flat-output": lambda case: _is_flat(case.output_shape()),
    "interpolates-precisely": _interpolates_precisely,
    "no-batch-padding": _no_batch_padding,
    "no-fused-activation": _no_fused_activation,
    "padding-with-zeros": _padding_with_zeros,
    "short-input": lambda case: math.prod(case.shape(0)) <= case.row.most_elements,
    "spares-batch": _spares_batch,
    "unit-strides": _unit_strides,
}


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
