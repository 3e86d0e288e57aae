"""One call of a layer while a network is traced: what a rule may ask and say of its channels, atoms made one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgebuild.passes.graph.ir import Layer, Ref, Shape
from edgebuild.passes.surgery.channels import FIXED, Axes, Role, Vector

Path = tuple[str | int, ...]


class Binding(NamedTuple):
    """An axis of a weight, tied to atoms (or to none: then it never changes)."""

    vector: Vector | None
    role: Role


class Ledger:
    """What the rules have said so far, over all calls. Vectors are of atoms, and None where nothing can go."""

    def __init__(self) -> None:
        self.atoms = Atoms()
        self.weights: dict[tuple[str, str, int], Binding] = {}
        self.config: dict[tuple[str, Path], Vector | None] = {}
        self.arguments: dict[tuple[int, Path], Vector | tuple[Vector, ...]] = {}
        self.made: dict[str, Vector] = {}
        self.unknown: dict[str, str] = {}  # layers with weights that no rule knows, and why they stay


class Use:
    """A call as its rule sees it.

    Attributes:
        layer: the layer called.
        kind: the name of its class, or of that of the layer inside a wrapper.
        config: likewise.
        number: of the call in its graph.
        args, kwargs: as in `ir.Call`.
        inputs: the axes of each tensor that goes in.
        given: their shapes.
        results: the shapes of those that come out.
    """

    def __init__(
        self,
        ledger: Ledger,
        layer: Layer,
        *,
        number: int,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        inputs: Sequence[Axes],
        given: Sequence[Shape],
        results: Sequence[Shape],
        inner: Mapping[str, Any] | None = None,
        path: Path = (),
    ) -> None:
        self.layer = layer
        self.kind = layer.kind.__name__ if inner is None else str(inner["class_name"])
        self.config = layer.config if inner is None else inner["config"]
        self.number = number
        self.args, self.kwargs = args, kwargs
        self.inputs, self.given, self.results = inputs, given, results
        self._ledger = ledger
        self._path = path

    @property
    def tensors(self) -> list[Ref]:
        """The tensors that go in, in the order of `inputs`."""
        flat = tf.nest.flatten((tuple(self.args), list(self.kwargs.values())))
        return [item for item in flat if isinstance(item, Ref)]

    @property
    def reason(self) -> str:
        """Why channels stay that meet this layer and nothing better is known."""
        return f"its channels meet {self.layer.kind.__name__} {self.layer.name}"

    def inside(self, inputs: Sequence[Axes], given: Sequence[Shape], results: Sequence[Shape]) -> Use:
        """The same call of the layer inside a wrapper, which Keras writes into the wrapper's config as "layer"."""
        return Use(
            self._ledger,
            self.layer,
            number=self.number,
            args=self.args,
            kwargs=self.kwargs,
            inputs=inputs,
            given=given,
            results=results,
            inner=self.config["layer"],
            path=(*self._path, "layer", "config"),
        )

    def made(self, count: int) -> Vector:
        """New atoms for the channels that the layer makes: the same at each of its calls."""
        if self.layer.name not in self._ledger.made:
            self._ledger.made[self.layer.name] = self._ledger.atoms.new(count)
            if count == 1:
                self.pin(self._ledger.made[self.layer.name], "it has a single channel")
        return self._ledger.made[self.layer.name]

    def weight(self, name: str, axis: int, vector: Vector | None, role: Role) -> None:
        """Tie an axis of a weight to atoms; a layer called again ties the atoms of both calls together."""
        if name not in self.layer.weights:
            return
        key = (self.layer.name, name, axis % self.layer.weights[name].ndim)
        known = self._ledger.weights.setdefault(key, Binding(vector, role))
        self._same(known.vector, vector)

    def count(self, path: Path, vector: Vector | None) -> None:
        """Say that a number in the config counts the positions of a vector."""
        key = (self.layer.name, self._path + path)
        self._same(self._ledger.config.setdefault(key, vector), vector)

    def count_argument(self, path: Path, sizes: Vector | tuple[Vector, ...]) -> None:
        """Say so of a number, or a list of numbers, among the arguments; the path starts with "args" or "kwargs"."""
        self._ledger.arguments[self.number, path] = sizes

    def unify(self, vectors: Sequence[Vector | None], size: int | None) -> Vector | None:
        """Let axes of one size be one and the same; where one of them never changes, neither do the others."""
        known = [vector for vector in vectors if vector is not None]
        if not known:
            return None
        assert size is not None, "an axis with channels has a size"
        for vector in vectors:
            if vector is not known[0]:
                other = np.full(size, FIXED, np.int32) if vector is None else vector
                self._ledger.atoms.unify(known[0], other, f"{self.reason}, where they are tied to what must stay")
        return known[0]

    def pin(self, vector: Vector | None, reason: str = "") -> None:
        """Let atoms stay."""
        if vector is not None:
            self._ledger.atoms.pin(vector, reason or self.reason)

    def pin_all(self, reason: str = "") -> list[Axes]:
        """Let all atoms that go in stay; what comes out has none."""
        for axes in self.inputs:
            for vector in axes:
                self.pin(vector, reason)
        return [(None,) * len(shape) for shape in self.results]

    def stay(self, reason: str) -> None:
        """Say that the layer's own channels stay."""
        self._ledger.unknown.setdefault(self.layer.name, reason)

    def pin_others(self, axes: Axes, *allowed: int) -> Axes:
        """The axes with the atoms of all but the allowed ones pinned."""
        kept = {axis % len(axes) for axis in allowed}
        for axis, vector in enumerate(axes):
            if axis not in kept:
                self.pin(vector)
        return tuple(vector if axis in kept else None for axis, vector in enumerate(axes))

    @property
    def channel_axis(self) -> int:
        """Where the first input of a spatial layer has its channels."""
        return 1 if self.config.get("data_format") == "channels_first" else len(self.given[0]) - 1

    def placed(self, axis: int, vector: Vector | None) -> list[Axes]:
        """The axes of a single result that has channels on one axis."""
        rank = len(self.results[0])
        return [tuple(vector if position == axis % rank else None for position in range(rank))]

    def _same(self, one: Vector | None, other: Vector | None) -> None:
        sizes = [len(vector) for vector in (one, other) if vector is not None]
        if sizes and one is not other:
            self.unify([one, other], sizes[0])


class Classes(NamedTuple):
    """The outcome: each atom's class (with FIXED at the end, for FIXED itself) and why some classes must stay."""

    total: int
    of_atom: npt.NDArray[np.int32]
    pinned: dict[int, str]

    def of(self, atoms: Vector) -> Vector:
        """The classes of a vector of atoms; FIXED stays FIXED."""
        return self.of_atom[atoms]


class Atoms:
    """Disjoint sets of atoms, some of them pinned.

    Union by path halving (Tarjan and van Leeuwen, "Worst-case analysis of set union algorithms", 1984); the lesser
    number leads, so that classes come out in the order of the network.
    """

    def __init__(self) -> None:
        self._leader: list[int] = []
        self._pins: list[tuple[Vector, str]] = []

    def new(self, count: int) -> Vector:
        """Atoms that nothing is known of yet."""
        start = len(self._leader)
        self._leader.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int32)

    def unify(self, one: Vector, other: Vector, reason: str) -> None:
        """Let two vectors of equal length be one and the same, position by position.

        An atom that meets FIXED is pinned for this reason.
        """
        pairs = np.unique(np.stack([one, other]), axis=1)
        fixed = (pairs == FIXED).any(axis=0)
        self.pin(pairs[:, fixed].ravel(), reason)
        for left, right in pairs[:, ~fixed].T.tolist():
            low, high = sorted((self._find(left), self._find(right)))
            self._leader[high] = low

    def pin(self, vector: Vector, reason: str) -> None:
        """Let atoms stay for good; the first reason given is the one that is told."""
        atoms = np.unique(vector[vector != FIXED])
        if len(atoms):
            self._pins.append((atoms, reason))

    def classes(self) -> Classes:
        """All sets as they are now, numbered from 0."""
        leaders = np.array([self._find(atom) for atom in range(len(self._leader))], np.int32)
        names, of_atom = np.unique(leaders, return_inverse=True)
        pinned: dict[int, str] = {}
        for atoms, reason in self._pins:
            for number in np.unique(of_atom[atoms]).tolist():
                pinned.setdefault(number, reason)
        return Classes(len(names), np.append(of_atom, FIXED).astype(np.int32), pinned)

    def _find(self, atom: int) -> int:
        leader = self._leader
        while leader[atom] != atom:
            leader[atom] = atom = leader[leader[atom]]
        return atom
