"""Classes that stand in the same tensors: as int8 has one step for each tensor, their scales are chosen together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from edgebuild.passes.equalization.scaling import Scaling
from edgebuild.passes.graph.ir import Call, Graph
from edgebuild.passes.surgery.atoms import Atoms
from edgebuild.passes.surgery.channels import FIXED, Axes, Role, Vector


class Group(NamedTuple):
    """Classes that are coupled through tensors.

    Attributes:
        name: the layer that makes the first of their tensors.
        free: the classes whose scales can be chosen, ascending.
        tensors: all that carry them, in the order of the network.
        calls: all that take one of these, likewise.
        consumers: the layers that undo the scales.
    """

    name: str
    free: Vector
    tensors: tuple[int, ...]
    calls: tuple[Call, ...]
    consumers: frozenset[str]


def groups(graph: Graph, scaling: Scaling) -> list[Group]:
    """All groups with scales to be chosen, in the order of the network.

    Left out are those of which a tensor has channels on two axes at once.
    """
    leader = _leaders(scaling)
    consumers: dict[int, set[str]] = {}
    for item in scaling.factors:
        if item.role == Role.CONSUMES:
            for number in _of(item.classes, leader):
                consumers.setdefault(number, set()).add(item.layer)
    carried: dict[int, list[int]] = {}
    for tensor in _in_order(graph):
        for number in sorted({number for vector in _vectors(scaling.axes[tensor]) for number in _of(vector, leader)}):
            carried.setdefault(number, []).append(tensor)
    found = []
    for number, tensors in carried.items():
        members = np.flatnonzero(leader == number)
        free = members[[item not in scaling.pinned for item in members.tolist()]].astype(np.int32)
        if len(free) > 1 and all(scaling.scaled_axis(tensor) is not None for tensor in tensors):
            calls = tuple(call for call in graph.calls if not set(tensors).isdisjoint(call.inputs))
            name = graph.producers()[tensors[0]].layer
            found.append(Group(name, free, tuple(tensors), calls, frozenset(consumers.get(number, ()))))
    return found


def _leaders(scaling: Scaling) -> Vector:
    """For each class a number that it shares with all classes of its group."""
    atoms = Atoms()
    members = atoms.new(scaling.classes)
    for axes in scaling.axes.values():
        for vector in _vectors(axes):
            inside = np.unique(vector[vector != FIXED])
            atoms.unify(members[inside[1:]], members[inside[:-1]], "")
    return atoms.classes().of(members)


def _vectors(axes: Axes) -> Iterable[Vector]:
    return (vector for vector in axes if vector is not None)


def _of(classes: Vector, leader: Vector) -> list[int]:
    inside = np.unique(classes[classes != FIXED])
    return [int(number) for number in np.unique(leader[inside])]


def _in_order(graph: Graph) -> list[int]:
    return [tensor for call in graph.calls for tensor in call.outputs]
