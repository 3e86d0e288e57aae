"""One call of a layer while a network is traced: what a rule may ask and what it may say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.passes.graph.ir import Layer, Ref, Shape
from edgebuild.passes.surgery.atoms import Atoms
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
