"""What the rules note down while the scales of a network are traced, beside which of them are one and the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgebuild.passes.surgery.channels import FIXED, Axes, Role, Vector
from edgebuild.passes.surgery.use import Use

Atoms = npt.NDArray[np.int32]


class Book:
    """The weights that change with scales, and the caps, over all calls.

    `weights` holds the atom that concerns each element, in a shape that broadcasts to the weight's; `caps` has the
    numbers of calls.
    """

    def __init__(self) -> None:
        self.weights: dict[tuple[str, str, Role], Atoms] = {}
        self.caps: list[tuple[int, float]] = []

    def tie(self, use: Use, weight: str, axis: int, vector: Vector | None, role: Role) -> None:
        """Say that each position of an axis of a weight goes with an atom; with none where the vector is None."""
        if weight in use.layer.weights:
            array = use.layer.weights[weight]
            atoms = np.full(array.shape[axis], FIXED, np.int32) if vector is None else vector
            self.tie_all(
                use, weight, atoms.reshape([-1 if n == axis % array.ndim else 1 for n in range(array.ndim)]), role
            )

    def tie_all(self, use: Use, weight: str, atoms: Atoms, role: Role) -> None:
        """Say which atom each element of a weight goes with; a layer called again ties the atoms of both calls."""
        if weight not in use.layer.weights:
            return
        known = self.weights.setdefault((use.layer.name, weight, role), atoms)
        if known is not atoms:
            use.unify([known.ravel(), atoms.ravel()], atoms.size)

    def cap(self, use: Use, value: float) -> None:
        """Say that what comes out of a call is cut off above a value."""
        if np.isfinite(value):
            self.caps.append((use.number, value))


def whole(vector: Vector | None, size: int) -> Atoms:
    """The atoms of an axis of that size, FIXED where it has none."""
    return np.full(size, FIXED, np.int32) if vector is None else vector


def pinned(use: Use) -> list[Axes]:
    """Let everything that goes in keep its scale, as for functions that do not commute with one."""
    return use.pin_all()
