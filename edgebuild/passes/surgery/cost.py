"""What channels cost: multiply-accumulates, bytes or time, at any number of channels, without cutting anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgebuild import layer_costs
from edgebuild.core.layers import LayerShape
from edgebuild.layer_costs import LatencyTable
from edgebuild.passes.surgery.channels import Channels
from edgebuild.passes.surgery.operators import Operator

_CHANNEL_BYTES = 12


class Cost(Protocol):
    """What one operator costs.

    Attributes:
        unit: what the figures are, as it is said to the user.
    """

    unit: str

    def of(self, operator: Operator, counts: Sequence[int]) -> float:
        """The cost where `counts` has the kept classes of each group."""
        ...


class Macs:
    """Multiply-accumulates for one sample; what falls on padding counts as well."""

    unit = "MACs"

    def of(self, operator: Operator, counts: Sequence[int]) -> float:
        """As `Cost.of`."""
        return operator.positions * operator.weights(counts)


class ParameterBytes:
    """Bytes of parameters in a full-integer artifact, quantized per channel.

    A weight has 1, an output channel 4 for its bias and 4 each for the scales of its weights and of its bias.
    """

    unit = "bytes of parameters"

    def of(self, operator: Operator, counts: Sequence[int]) -> float:
        """As `Cost.of`; weights that are used again cost nothing more."""
        if operator.again:
            return 0
        return operator.weights(counts) + _CHANNEL_BYTES * operator.biased * operator.outputs.at(counts)


class Latency:
    """Seconds for one sample on the kernels that a table was measured with.

    Operators that have no shape to be timed with take as long for each MAC as those of the table do together.

    Args:
        table: the times of all operators that have a shape, over their channels.
        operators: those of the network.
        channels: its trace.

    Raises:
        ValueError: the table lacks an operator.
    """

    unit = "seconds"

    def __init__(self, table: LatencyTable, operators: Sequence[Operator], channels: Channels) -> None:
        self._table = table
        self._s_per_mac = 0.0
        full = full_counts(channels)
        timed = [operator for operator in operators if operator.shape is not None]
        macs = sum(Macs().of(operator, full) for operator in timed)
        self._s_per_mac = sum(self.of(operator, full) for operator in timed) / macs if macs else 0.0

    def of(self, operator: Operator, counts: Sequence[int]) -> float:
        """As `Cost.of`."""
        if operator.shape is None:
            return self._s_per_mac * Macs().of(operator, counts)
        return self._table.time_s(operator.shape, operator.inputs.at(counts), operator.outputs.at(counts))


def grids(operators: Sequence[Operator], multiple: int, points: int = 4) -> dict[LayerShape, list[LayerShape]]:
    """For each operator that can be timed, the shapes to measure for `layer_costs.tabulate`."""
    shrinks: dict[LayerShape, tuple[bool, bool]] = {}
    for operator in operators:
        if operator.shape is not None:
            inputs, outputs = shrinks.get(operator.shape, (False, False))
            shrinks[operator.shape] = (inputs or bool(operator.inputs.terms), outputs or bool(operator.outputs.terms))
    return {
        shape: layer_costs.grid(shape, multiple, points, input_shrinks=inputs, output_shrinks=outputs)
        for shape, (inputs, outputs) in shrinks.items()
    }


def full_counts(channels: Channels) -> list[int]:
    """How many classes each group has before pruning."""
    return [len(group.classes) for group in channels.groups]


def total(operators: Sequence[Operator], cost: Cost, counts: Sequence[int]) -> float:
    """What the network costs where `counts` has the kept classes of each group."""
    return sum(cost.of(operator, counts) for operator in operators)


class Savings:
    """What narrower groups save, with each group's operators at hand.

    Args:
        operators: those of the network.
        cost: of one of them.
        groups: how many there are.
    """

    def __init__(self, operators: Sequence[Operator], cost: Cost, groups: int) -> None:
        self._cost = cost
        self._operators: list[list[Operator]] = [[] for _ in range(groups)]
        for operator in operators:
            for group in operator.groups:
                self._operators[group].append(operator)

    def of(self, group: int, count: int, counts: Sequence[int]) -> float:
        """What the network saves if a group keeps `count` classes and all others what `counts` has for them."""
        fewer = list(counts)
        fewer[group] = count
        return sum(self._cost.of(item, counts) - self._cost.of(item, fewer) for item in self._operators[group])

    def touched(self, group: int) -> frozenset[int]:
        """The groups whose savings depend on how many classes this one keeps; it is one of them."""
        return frozenset({group}.union(*(operator.groups for operator in self._operators[group])))
