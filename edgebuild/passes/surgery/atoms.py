"""Channels while a network is traced: atoms that are made one by one and found to be one and the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.surgery.channels import FIXED, Vector


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
