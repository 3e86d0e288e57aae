"""Operators of two artifacts of one network, paired by what they read and write: a float one and a quantized one.

Names agree mostly, but not always: the converter joins the paths of what it fused in another order, and gives ends
new names. What an operator does, and to which data, tells more: from the inputs on, an operator is the counterpart of
the one of its kind that reads the counterparts of what it reads. Names decide among several, and help on where the
two files differ in structure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.model import ArtifactSpec
from edgebuild.errors import StepError

# Kinds that compute the same of the same.
_FAMILIES = {
    **dict.fromkeys(("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D"), "product"),
    **dict.fromkeys(("MEAN", "AVERAGE_POOL_2D", "SUM"), "mean"),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "PRELU", "LEAKY_RELU"), "relu"),
}
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
# Stored weights on their way to a kernel: what they make of a constant is one.
_UNPACKING = frozenset({"QUANTIZE", "DEQUANTIZE", "DENSIFY"})


class Pairs(NamedTuple):
    """Tensors that hold the same signal.

    Attributes:
        same: tensors of the artifact with those of the reference.
        derived: those of the artifact whose pair follows from the inputs on, operator by operator. The others were
            found by their names behind something without a counterpart, and are likely but no more.
    """

    same: dict[int, int]
    derived: frozenset[int]


def counterparts(artifact: Wiring, reference: Wiring) -> Pairs:
    """Pair the tensors of an artifact with those of the reference that hold the same signal.

    A tensor that a conversion wrote stands for what it was made of. Operators without a counterpart (fused otherwise,
    or of other shapes) have none for what they write; those behind them are found again by their names.
    """
    return _Matching(artifact, reference).run()


class _Matching:
    def __init__(self, artifact: Wiring, reference: Wiring) -> None:
        self._artifact, self._reference = artifact, reference
        self._own, self._other = artifact.origins(), reference.origins()
        self._found = dict(zip(artifact.inputs, reference.inputs, strict=True))
        self._free = [node for node in reference.nodes if not node.converts]
        self._above = _above(reference)
        self._derived = set(artifact.inputs)

    def run(self) -> Pairs:
        for node in self._artifact.nodes:
            if node.converts:
                continue
            match = self._by_structure(node)
            if match is not None and self._derived.issuperset(self._own.get(tensor, tensor) for tensor in node.reads):
                self._derived.update(node.writes)
            match = match or self._by_name(node)
            if match is not None:
                self._free.remove(match)
                self._found.update(zip(node.writes, match.writes, strict=True))
        for written, origin in self._own.items():
            if origin in self._found:
                self._found[written] = self._found[origin]
            if origin in self._derived:
                self._derived.add(written)
        return Pairs(self._found, frozenset(self._derived))

    def _by_structure(self, node: Node) -> Node | None:
        read = [self._found.get(self._own.get(tensor, tensor)) for tensor in node.reads]
        if None in read:
            return None
        # Kernels may take what commutes in either order.
        wanted = sorted(tensor for tensor in read if tensor is not None)
        fitting = [
            other
            for other in self._free
            if other.kind == node.kind
            and sorted(self._other.get(tensor, tensor) for tensor in other.reads) == wanted
            and self._is_alike(node, other)
        ]
        return max(fitting, key=lambda other: self._kinship(node, other), default=None)

    def _by_name(self, node: Node) -> Node | None:
        """The one free operator that shares most of its paths; None where none does, or where several do alike.

        The converter numbers the names of what it made of one operation, and another conversion may number them
        otherwise: it has to do what the operator does, and to depend on the counterparts of what that reads.
        """
        fitting = [
            other
            for other in self._free
            if _family(other) == _family(node)
            and self._is_alike(node, other)
            and self._kinship(node, other) > 0
            and self._reads_the_same(node, other)
        ]
        fitting.sort(key=lambda other: self._kinship(node, other), reverse=True)
        if not fitting or (len(fitting) > 1 and self._kinship(node, fitting[1]) == self._kinship(node, fitting[0])):
            return None
        return fitting[0]

    def _reads_the_same(self, node: Node, other: Node) -> bool:
        """Whether what is known of the operator's inputs is among what the other depends on."""
        known = {
            self._found[origin] for tensor in node.reads if (origin := self._own.get(tensor, tensor)) in self._found
        }
        return known <= self._above[other.position]

    def _is_alike(self, node: Node, other: Node) -> bool:
        return _shapes(self._artifact, node.writes) == _shapes(self._reference, other.writes)

    def _kinship(self, node: Node, other: Node) -> float:
        """How many of the paths in two operators' names are the same, as a share of all."""
        mine, its = _paths(self._artifact, node), _paths(self._reference, other)
        return len(mine & its) / max(1, len(mine | its))  # some operators, as ASSIGN_VARIABLE, write nothing


def _family(node: Node) -> str:
    """What an operator does, however the converter spelled it: a matrix product may become either of two."""
    return _FAMILIES.get(node.kind, node.kind)


def _above(wiring: Wiring) -> dict[int, frozenset[int]]:
    """For each operator, by its position, all tensors that it depends on."""
    makers = {tensor: node.position for node in wiring.nodes for tensor in node.writes}
    found: dict[int, frozenset[int]] = {}
    for node in wiring.nodes:
        further = (found.get(makers.get(tensor, -1), frozenset()) for tensor in node.reads)
        found[node.position] = frozenset(node.reads).union(*further)
    return found


def _shapes(wiring: Wiring, tensors: Sequence[int]) -> list[tuple[int, ...]]:
    return [wiring.tensors[tensor].shape for tensor in tensors]


def _paths(wiring: Wiring, node: Node) -> frozenset[str]:
    return frozenset(path for tensor in node.writes for path in wiring.tensors[tensor].name.split(";"))


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


def read_wiring(path: Path, spec: ArtifactSpec) -> Wiring:
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
