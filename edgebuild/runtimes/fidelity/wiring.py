"""Which operators of a .tflite file read and write which tensors, with the conversions between number formats named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.model import ArtifactSpec
from edgebuild.errors import StepError

_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
# Stored weights on their way to a kernel: what they make of a constant is one.
_UNPACKING = frozenset({"QUANTIZE", "DEQUANTIZE", "DENSIFY"})


class Node(NamedTuple):
    """One operator that works on data.

    Attributes:
        position: its place among the file's operators.
        kind: its BuiltinOperator name.
        reads: the tensors it reads that are no constants.
        writes: the tensors it writes.
    """

    position: int
    kind: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]

    @property
    def converts(self) -> bool:
        """Whether it only writes the same numbers in another format."""
        return self.kind in _CONVERSIONS


class Tensor(NamedTuple):
    """A tensor's name and its shape."""

    name: str
    shape: tuple[int, ...]


class Wiring(NamedTuple):
    """A file's main graph.

    Attributes:
        nodes: in the order in which they run.
        tensors: all, by their numbers.
        inputs: the numbers of the graph's inputs, in the order of the spec that it was read with.
        outputs: those of its outputs, likewise.
    """

    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def behind(self, tensors: Iterable[int]) -> frozenset[int]:
        """The positions of all operators that tensors depend on."""
        needed, found = set(tensors), set()
        for node in reversed(self.nodes):
            if needed.intersection(node.writes):
                needed.update(node.reads)
                found.add(node.position)
        return frozenset(found)

    @property
    def used(self) -> frozenset[int]:
        """The tensors that an operator or the caller reads; kernels may leave out the others."""
        return frozenset(tensor for node in self.nodes for tensor in node.reads) | frozenset(self.outputs)

    def origins(self) -> dict[int, int]:
        """For each tensor that a conversion wrote the one that it was made of, by way of any number of them."""
        found: dict[int, int] = {}
        for node in self.nodes:
            if node.converts and node.reads:
                found[node.writes[0]] = found.get(node.reads[0], node.reads[0])
        return found


def read(path: Path, spec: ArtifactSpec) -> Wiring:
    """Read the main graph of a .tflite file.

    Args:
        path: the file.
        spec: what `flatbuffer.reader` read from it, whose operators begin with the main graph's.

    Raises:
        StepError: the file is damaged.
        OSError: the file cannot be opened.
    """
    data = path.read_bytes()
    try:
        model: Any = schema.Model.GetRootAs(data, 0)
        graph = model.Subgraphs(0)
        tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
        constants = {index for index, tensor in enumerate(tensors) if _is_stored(model.Buffers(tensor.Buffer()))}
        return Wiring(
            tuple(_nodes(graph, spec, constants)),
            tuple(Tensor((tensor.Name() or b"").decode("utf-8", "replace"), _shape(tensor)) for tensor in tensors),
            tuple(tensor.index for tensor in spec.inputs),
            tuple(tensor.index for tensor in spec.outputs),
        )
    except Exception as error:  # the accessors check nothing: a damaged file raises whatever it likes
        raise StepError(f"{path.name} is damaged", f"{type(error).__name__}: {error}") from None


def _nodes(graph: Any, spec: ArtifactSpec, constants: set[int]) -> list[Node]:
    nodes = []
    for position in range(graph.OperatorsLength()):
        operator, kind = graph.Operators(position), spec.operators[position].name
        reads = tuple(i for i in _indices(operator.InputsAsNumpy()) if i >= 0 and i not in constants)
        writes = tuple(i for i in _indices(operator.OutputsAsNumpy()) if i >= 0)
        if not reads and kind in _UNPACKING:
            constants.update(writes)
        else:
            nodes.append(Node(position, kind, reads, writes))
    return nodes


def _is_stored(buffer: Any) -> bool:
    return bool(buffer.DataLength() > 0 or buffer.Size() > 1)


def _indices(array: Any) -> list[int]:
    """An absent vector of the schema reads as 0."""
    return [] if isinstance(array, int) else [int(index) for index in np.asarray(array)]


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(_indices(tensor.ShapeAsNumpy()))
