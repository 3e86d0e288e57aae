"""Scales of channels: what shares one, what must be chosen together, and networks rescaled by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.passes.graph.ir import Call, Graph
from edgebuild.passes.surgery.channels import FIXED, Axes, Role, Vector
from edgebuild.passes.surgery.use import Atoms

Array = npt.NDArray[Any]
Scales = npt.NDArray[np.float64]
"""A positive factor for each class, by which its activations are divided."""


class Factor(NamedTuple):
    """A weight that changes with the scales of channels.

    Attributes:
        layer: its layer.
        weight: its name, as in `ir.Layer.weights`.
        classes: whose scale concerns each element, in a shape that broadcasts to the weight's; FIXED for none.
        role: CONSUMES multiplies by the scale; PRODUCES (kernels) and FOLLOWS (one value for a channel) divide by it.
    """

    layer: str
    weight: str
    classes: npt.NDArray[np.int32]
    role: Role


class Cap(NamedTuple):
    """A tensor whose values are cut off: a rescaled channel is cut off at `value` times its scale."""

    tensor: int
    value: float


class Scaling(NamedTuple):
    """The scales that a graph leaves free. Classes are numbered from 0.

    Attributes:
        classes: how many there are.
        axes: for each tensor of the graph, for each axis, the class at each position; None where all are FIXED. A value
            is divided by the scales of its positions on all axes.
        factors: all weights concerned.
        pinned: the classes whose scale must be 1, and why.
        caps: the tensors behind a ReLU6 or its like. Only where no value of a class reaches them is its scale free.
    """

    classes: int
    axes: Mapping[int, Axes]
    factors: tuple[Factor, ...]
    pinned: Mapping[int, str]
    caps: tuple[Cap, ...]

    def scaled_axis(self, tensor: int) -> int | None:
        """The only axis of a tensor that has classes; None where there is none, or more than one."""
        found = [axis for axis, vector in enumerate(self.axes[tensor]) if vector is not None]
        return found[0] if len(found) == 1 else None

    def classes_of(self, tensor: int) -> npt.NDArray[np.int32]:
        """The classes that a tensor has, each once, ascending."""
        vectors = [vector for vector in self.axes[tensor] if vector is not None]
        joined = np.concatenate([np.zeros(0, np.int32), *vectors])
        found: npt.NDArray[np.int32] = np.unique(joined[joined != FIXED])
        return found

    def largest(self, tensor: int, values: Array) -> Scales:
        """By class the largest of `values`, one for each position of the tensor's scaled axis; 0 for other classes."""
        result, axis = np.zeros(self.classes), self.scaled_axis(tensor)
        vector = None if axis is None else self.axes[tensor][axis]
        if vector is not None:
            moving = vector != FIXED
            np.maximum.at(result, vector[moving], values[moving])
        return result


def with_fixed(values: Scales, fixed: float = 1.0) -> Scales:
    """Values by class with one more at the end, which FIXED finds."""
    return np.append(values, fixed)


def rescaled(graph: Graph, scaling: Scaling, scales: Scales) -> Graph:
    """The network with its channels' activations divided by scales, which computes the same.

    Exact, but for rounding, and but for what caps cut off differently.

    Args:
        graph: the network.
        scaling: its trace.
        scales: positive, and 1 for pinned classes.

    Raises:
        ValueError: they are not.
    """
    if not (np.isfinite(scales) & (scales > 0)).all() or any(scales[item] != 1 for item in scaling.pinned):
        raise ValueError("scales must be positive, and 1 where they are pinned")
    layers, factor_of = dict(graph.layers), with_fixed(scales)
    for item in scaling.factors:
        factors = factor_of[item.classes]
        if (factors != 1).any():
            layer = layers[item.layer]
            old = layer.weights[item.weight]
            new = old * factors if item.role == Role.CONSUMES else old / factors
            layers[item.layer] = layer._replace(weights={**layer.weights, item.weight: new.astype(old.dtype)})
    return graph._replace(layers=layers)


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
