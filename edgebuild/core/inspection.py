"""Inspection: all that a .tflite file says of itself, and what follows from it without running it."""

from __future__ import annotations

import msgspec

from edgebuild.core.delivery import Metadata
from edgebuild.core.model import UNKNOWN_RUNTIME

Option = int | float | bool | str | tuple[int | float | bool, ...]


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """How stored integers map to real values: real = scale * (stored - zero_point).

    One scale for the whole tensor, or one for each index along the axis `dimension`; `zero_points` are as many.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    dimension: int = 0


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a graph.

    Attributes:
        index: its place in the graph.
        shape: with -1 for a dimension left open.
        size_bytes: dense, of the shape with open dimensions taken as 1; 0 for types without a size (string, resource).
        constant_bytes: what the file stores for it; 0 for an activation.
        buffer: the number of its buffer; equal numbers share their bytes.
        is_variable: whether it keeps its value from run to run.
        is_sparse: whether its constants are stored sparsely.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    constant_bytes: int = 0
    buffer: int = 0
    quantization: Quantization | None = None
    is_variable: bool = False
    is_sparse: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operator of a graph, in the order of execution.

    Attributes:
        name: its BuiltinOperator name, or "CUSTOM:name" / "FLEX:name".
        inputs: tensors by index, -1 for an optional one that is not given.
        intermediates: tensors by index that a kernel calibrates with (LSTM).
        options: its builtin options as plain values by the schema's snake-case names: "stride_w", "padding" (as
            "SAME"), "fused_activation_function" (as "RELU6").
        options_table: the schema's name for them, such as "Conv2DOptions"; "" where there are none.
        custom_options_bytes: the length of what a custom operator is told.
        runtime: the oldest TensorFlow Lite runtime that knows this version; "" where that is not published,
            model.UNKNOWN_RUNTIME where it is newer than those that are.
        macs: multiply-accumulates of one run.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...] = ()
    options: dict[str, Option] = {}
    options_table: str = ""
    custom_options_bytes: int = 0
    runtime: str = ""
    macs: int = 0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The activations of a graph over one inference, estimated from lifetimes alone.

    A tensor lives from the operator that writes it to the last that reads it; the graph's inputs live from the start,
    its outputs and its state to the end. Kernels that work in place may need less; their scratch memory is not counted.

    Attributes:
        peak_bytes: of all tensors that are alive together, where they are most.
        at: the operator where that is first so; -1 in a graph without operators.
        alive: the tensors alive there, by index, the largest first.
        steps_bytes: what is alive at each operator.
    """

    peak_bytes: int
    at: int = -1
    alive: tuple[int, ...] = ()
    steps_bytes: tuple[int, ...] = ()


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A subgraph; the first of a file is the one that is called from outside."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    memory: Memory = Memory(peak_bytes=0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run of it."""
        return sum(operation.macs for operation in self.operations)


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Names by which a graph's ends are called from outside: tensors by index."""

    key: str
    graph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A .tflite file.

    Attributes:
        size_bytes: of the file.
        sections: bytes of the file by what they are for ("constants", "quantization", "names", ...); they add up to it.
        signatures: their keys.
        ends: the same signatures with the tensors they name.
        metadata: names of its metadata entries.
        doubts: what does not fit together, so that a runtime may refuse it or compute nonsense; none in a sound file.
        warnings: what kernels of one family refuse in a file that others run.
        described: what it tells mobile SDKs; None where it tells nothing, or where nobody has read that.
    """

    size_bytes: int
    description: str
    graphs: tuple[Graph, ...]
    signatures: tuple[str, ...]
    metadata: tuple[str, ...]
    sections: dict[str, int] = {}
    ends: tuple[Signature, ...] = ()
    doubts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    described: Metadata | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, each graph counted once."""
        return sum(graph.macs for graph in self.graphs)

    @property
    def runtime(self) -> str:
        """The oldest that knows all its operators; "" where none is published, UNKNOWN_RUNTIME if it is newer."""
        needed = {operation.runtime for graph in self.graphs for operation in graph.operations} - {""}
        if UNKNOWN_RUNTIME in needed:
            return UNKNOWN_RUNTIME
        return max(needed, key=lambda version: tuple(map(int, version.split("."))), default="")
