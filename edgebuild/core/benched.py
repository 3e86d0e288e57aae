"""Benched: an artifact as `edgebuild bench` measured it, and where in it an inference spends its time."""

from __future__ import annotations

import msgspec

from edgebuild.core.comparison import Comparison, Interval
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.verdict import Verdict


class Benched(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one artifact, judged.

    Attributes:
        artifact: the path of the file.
        sha256: of the file.
        target: that it was built for; empty where nothing is known of it.
        measurements: of the places that it was run at.
        verdict: on all budgets that hold for it.
        has_costs_of_its_own: whether a latency on this host is none of its target's.
        lower_is_better: the direction of the score that its build was scored by.
        comparison: with its baseline; None where none was named.
        operators: where the time goes; None where that was not asked for.
        lacking: why a figure could not be had, as "SUBJECT on PLACE".
        notes: what there is to say: places that are not there, what disturbed a measurement.
    """

    artifact: str
    sha256: str
    target: str
    measurements: tuple[Measurement, ...]
    verdict: Verdict
    has_costs_of_its_own: bool = False
    lower_is_better: bool = False
    comparison: Comparison | None = None
    lacking: dict[str, str] = {}
    operators: OperatorTimes | None = None
    notes: tuple[str, ...] = ()


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
