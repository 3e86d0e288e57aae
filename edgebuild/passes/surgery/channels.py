"""What is known of a network's channels: which hang together, where they stand, which must stay."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.int32]
"""The channel class at each position of an axis, FIXED where a position can never go."""

FIXED = -1

Axes = tuple[Vector | None, ...]
"""A vector for each axis of a tensor, the batch among them; None where no position of an axis can ever go."""


class Role(Enum):
    """What an axis of a weight has to do with its channels."""

    PRODUCES = "produces"  # one filter for each channel: the outputs of a kernel
    FOLLOWS = "follows"  # one value or more for each channel: bias, batch norm, a depthwise kernel
    CONSUMES = "consumes"  # what a layer that mixes channels does with each of them: the inputs of a kernel


class WeightAxis(NamedTuple):
    """An axis of a weight along which it is sliced; weights are named as in `ir.Layer.weights`."""

    layer: str
    weight: str
    axis: int
    vector: Vector
    role: Role


class Count(NamedTuple):
    """A number that counts the kept positions of an axis, or a list of such numbers.

    Attributes:
        where: the name of the layer whose config holds it, or the number of the call whose arguments do.
        path: keys and indices that lead to it; those of a call start with "args" or "kwargs".
        sizes: what is counted.
    """

    where: str | int
    path: tuple[str | int, ...]
    sizes: Vector | tuple[Vector, ...]


class Group(NamedTuple):
    """Channel classes that stand on the same axes, so that only their number matters to the shapes of the network.

    Attributes:
        layers: the layers that produce them, in order; the first is the group's name.
        classes: their numbers, ascending.
        widths: how many channels of each of these layers one class is.
    """

    layers: tuple[str, ...]
    classes: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def name(self) -> str:
        """The first layer that produces its channels."""
        return self.layers[0]

    def step(self, multiple: int) -> int:
        """The least number of classes that is a multiple of `multiple` channels in every layer."""
        return math.lcm(*(multiple // math.gcd(multiple, width) for width in self.widths))


class LeftAlone(NamedTuple):
    """Channels of a layer that cannot be removed, and why."""

    layer: str
    channels: int
    of: int
    reason: str

    @property
    def text(self) -> str:
        """A sentence for the user."""
        part = "" if self.channels == self.of else f"{self.channels:,} of its {self.of:,} channels are "
        return f"{self.layer}: {part}left alone: {self.reason}"


class Channels(NamedTuple):
    """The channels of one graph. Their classes are numbered from 0; what is coupled is one class.

    Attributes:
        classes: how many there are.
        axes: for each tensor of the graph.
        weights: every axis of a weight that has channels.
        counts: every number in the graph that follows from how many channels there are.
        groups: what can be pruned, in the order of the network.
        left_alone: what cannot.
    """

    classes: int
    axes: Mapping[int, Axes]
    weights: tuple[WeightAxis, ...]
    counts: tuple[Count, ...]
    groups: tuple[Group, ...]
    left_alone: tuple[LeftAlone, ...]

    def kept(self, removed: Collection[int]) -> npt.NDArray[np.bool_]:
        """Whether each class is kept; one more at the end, so that FIXED finds True there."""
        mask = np.ones(self.classes + 1, np.bool_)
        mask[list(removed)] = False
        return mask
