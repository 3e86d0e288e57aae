"""Operators of two artifacts of one network, paired: a float one and a quantized one.

Names agree mostly, but not always: the converter joins the paths of what it fused in another order, and gives ends
new names. What an operator does, and to which data, tells more: from the inputs on, an operator is the counterpart of
the one of its kind that reads the counterparts of what it reads. Names decide among several, and help on where the
two files differ in structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgebuild.runtimes.fidelity.wiring import Node, Wiring


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


# Kinds that compute the same of the same.
_FAMILIES = {
    **dict.fromkeys(("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D"), "product"),
    **dict.fromkeys(("MEAN", "AVERAGE_POOL_2D", "SUM"), "mean"),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "PRELU", "LEAKY_RELU"), "relu"),
}


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
