"""Operators of two artifacts of one network, paired: a float one and a quantized one.

Names agree mostly, but not always: the converter joins the paths of what it fused in another order, and gives ends
new names. What an operator does, and to which data, tells more: from the inputs on, an operator is the counterpart of
the one of its kind that reads the counterparts of what it reads. Names decide among several, and help on where the
two files differ in structure.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgebuild.runtimes.fidelity.wiring import Node, Wiring


def counterparts(artifact: Wiring, reference: Wiring) -> dict[int, int]:
    """Tensors of the artifact with those of the reference that hold the same signal.

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

    def run(self) -> dict[int, int]:
        for node in self._artifact.nodes:
            if node.converts:
                continue
            match = self._by_structure(node) or self._by_name(node)
            if match is not None:
                self._free.remove(match)
                self._found.update(zip(node.writes, match.writes, strict=True))
        for written, origin in self._own.items():
            if origin in self._found:
                self._found[written] = self._found[origin]
        return self._found

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
        """The one free operator that shares most of its paths; None where none does, or where several do alike."""
        fitting = [other for other in self._free if self._is_alike(node, other) and self._kinship(node, other) > 0]
        fitting.sort(key=lambda other: self._kinship(node, other), reverse=True)
        if not fitting or (len(fitting) > 1 and self._kinship(node, fitting[1]) == self._kinship(node, fitting[0])):
            return None
        return fitting[0]

    def _is_alike(self, node: Node, other: Node) -> bool:
        return _shapes(self._artifact, node.writes) == _shapes(self._reference, other.writes)

    def _kinship(self, node: Node, other: Node) -> float:
        """How many of the paths in two operators' names are the same, as a share of all."""
        mine, its = _paths(self._artifact, node), _paths(self._reference, other)
        return len(mine & its) / len(mine | its)


def _shapes(wiring: Wiring, tensors: Sequence[int]) -> list[tuple[int, ...]]:
    return [wiring.tensors[tensor].shape for tensor in tensors]


def _paths(wiring: Wiring, node: Node) -> frozenset[str]:
    return frozenset(path for tensor in node.writes for path in wiring.tensors[tensor].name.split(";"))
