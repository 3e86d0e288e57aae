"""Operator times: where in a network an inference spends its time."""

from __future__ import annotations

import msgspec

from edgebuild.core.comparison import Interval
from edgebuild.core.measurement import Mode


class OperatorTime(msgspec.Struct, frozen=True, kw_only=True):
    """What one operator of the first graph takes, or several that lie side by side and were timed together.

    Attributes:
        positions: of the operators among those of the graph, in order; none for work that the runtime does beside them.
        names: their BuiltinOperator names, as many.
        tensor: the name of what the last of them writes first.
        shape: of that tensor.
        dtype: of that tensor.
        macs: multiply-accumulates of one run.
        kernel: what the runtime calls that which it ran; empty where it does not tell.
        time_s: of one inference.
        interval_s: 95 % interval of time_s.
    """

    positions: tuple[int, ...]
    names: tuple[str, ...]
    tensor: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    macs: int = 0
    kernel: str = ""
    time_s: float
    interval_s: Interval


class OperatorTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of all operators of an artifact.

    Attributes:
        mode: MEASURED by the runtime's own profiler, or ESTIMATED from the times of prefixes of the network.
        source: how the times were come by, for people.
        kernels: the LiteRT kernel family that ran.
        threads: of the interpreter.
        whole_s: the latency of the whole network, measured in turn with the rest.
        beside_s: what an inference takes beside its operators; with the operators' times it adds up to `whole_s`, but
            for noise.
        operators: in the order of execution.
        runs: how many inferences each figure comes from, at least.
        notes: what is to be known when reading them.
    """

    mode: Mode
    source: str
    kernels: str
    threads: int
    whole_s: float
    beside_s: float
    operators: tuple[OperatorTime, ...]
    runs: int
    notes: tuple[str, ...] = ()

    @property
    def sum_s(self) -> float:
        """What all operators take together."""
        return sum(operator.time_s for operator in self.operators)
