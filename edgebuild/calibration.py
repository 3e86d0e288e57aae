"""From instructions to time: a line through what was measured on a device, and how far it can be trusted.

Instructions are not time. Between networks of one family, on one core with one version of the same kernels, time grows
with them nearly on a line; elsewhere nothing is estimated, and it is said why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from edgebuild.core.calibration import Calibration, Family, Point
from edgebuild.core.comparison import Interval
from edgebuild.core.inspection import Graph, Inspection, Operation
from edgebuild.stats import student

FEWEST = 4
# Beyond the calibrated range by more than this factor a line is a guess.
_BEYOND = 2.0
# Networks that are nearly of one size tell nothing of the slope.
_SMALLEST_RANGE = 1.5
# An artifact that the others foresee so badly is not of their family.
_WORST_LEFT_OUT = 0.5
_WEIGHTS_INPUT = 1


class Workload(NamedTuple):
    """A network as it ran in emulation."""

    family: Family
    core: str
    kernels: str
    litert: str


class Estimate(NamedTuple):
    """A time in seconds that was not measured, and its 95 % prediction interval."""

    time_s: float
    interval_s: Interval


class Line(NamedTuple):
    """time = intercept_s + slope_s * instructions, and what its uncertainty follows from.

    Attributes:
        intercept_s: seconds that every inference takes.
        slope_s: seconds an instruction takes.
        spread: standard deviation of the relative residuals.
        covariance: of intercept and slope over spread squared: both variances, then what they share.
        freedom: points beyond those that two parameters take.
    """

    intercept_s: float
    slope_s: float
    spread: float
    covariance: tuple[float, float, float]
    freedom: int

    def at(self, instructions: float) -> Estimate:
        """The time of a network that was not among the points."""
        time_s = self.intercept_s + self.slope_s * instructions
        of_intercept, of_slope, shared = self.covariance
        variance = time_s**2 + of_intercept + 2 * instructions * shared + instructions**2 * of_slope
        reach_s = student(self.freedom) * self.spread * math.sqrt(variance)
        return Estimate(time_s, (max(0.0, time_s - reach_s), time_s + reach_s))


class UnfitError(ValueError):
    """The points tell no line; the text says why."""


def family_of(inspection: Inspection) -> Family:
    """What a network's instructions depend on beside their number."""
    operations = [(operation, graph) for graph in inspection.graphs for operation in graph.operations]
    return Family(
        types=tuple(sorted({_types(operation, graph) for operation, graph in operations if operation.macs})),
        operators=tuple(sorted({operation.name for operation, _ in operations})),
    )


def together(families: Sequence[Family]) -> Family:
    """The family of several networks.

    Raises:
        UnfitError: they compute in different types.
    """
    types = sorted({family.types for family in families})
    if len(types) > 1:
        shown = "; ".join(", ".join(some) or "none that multiplies" for some in types)
        raise UnfitError(f"they do not compute in the same types: {shown}")
    return Family(types=types[0], operators=tuple(sorted({name for family in families for name in family.operators})))


def fit(points: Sequence[Point]) -> Line:
    """The line through at least FEWEST points that leaves the least squares of relative residuals.

    Weighted least squares with weights of one over the time squared (Draper & Smith, Applied Regression Analysis, 3rd
    edition, 1998, section 9.2), and neither intercept nor slope below zero: an intercept that would be is left out.

    Raises:
        UnfitError: there are fewer points, they are too much alike, or time does not grow with instructions.
    """
    if len(points) < FEWEST:
        raise UnfitError(f"there are {len(points)} networks, and a line that can be checked needs at least {FEWEST}")
    counts = [point.instructions for point in points]
    if max(counts) < _SMALLEST_RANGE * min(counts):
        raise UnfitError(f"the largest takes less than {_SMALLEST_RANGE:g} times the instructions of the smallest")
    return _line(points)


def left_out(points: Sequence[Point]) -> tuple[float, ...]:
    """For each point how far it lies from what a line through the others foresees, as a share of its own time.

    Leave-one-out cross-validation (Stone, Cross-Validatory Choice and Assessment of Statistical Predictions, 1974).
    """
    errors = []
    for number, point in enumerate(points):
        others = [*points[:number], *points[number + 1 :]]
        errors.append(_line(others).at(point.instructions).time_s / point.time_s - 1)
    return tuple(errors)


def require_family(points: Sequence[Point]) -> None:
    """Refuse points of which one is far from what the others foresee.

    Raises:
        UnfitError: it names the worst.
    """
    errors = left_out(points)
    worst = max(range(len(points)), key=lambda number: abs(errors[number]))
    if abs(errors[worst]) > _WORST_LEFT_OUT:
        raise UnfitError(
            f"from the others {points[worst].name} would be foreseen {abs(errors[worst]):.0%} "
            f"too {'slow' if errors[worst] > 0 else 'fast'}: they are no family"
        )


def estimate(calibration: Calibration, workload: Workload, instructions: float) -> Estimate | str:
    """The time of a network on the calibrated device, or the sentence that says why there is no estimate."""
    family = calibration.family
    if workload.core != calibration.core:
        return f"it was calibrated for {calibration.core}"
    if workload.kernels != calibration.kernels:
        return f"it was calibrated for {calibration.kernels} kernels"
    if workload.litert != calibration.litert:
        return f"it was calibrated with LiteRT {calibration.litert}, not {workload.litert or 'an unknown version'}"
    if workload.family.types != family.types:
        return (
            f"it was calibrated for {', '.join(family.types)}, not {', '.join(workload.family.types) or 'these types'}"
        )
    others = sorted(set(workload.family.operators) - set(family.operators))
    if others:
        return f"it was calibrated without {', '.join(others)}"
    counts = [point.instructions for point in calibration.points]
    if not min(counts) / _BEYOND <= instructions <= max(counts) * _BEYOND:
        return (
            f"it was calibrated from {min(counts):.3g} to {max(counts):.3g} instructions, "
            f"and {instructions:.3g} is too far from that"
        )
    return fit(calibration.points).at(instructions)


def _line(points: Sequence[Point]) -> Line:
    """As `fit`, for points that are known to be enough."""
    # Of both sides divided by the time, so that residuals are relative: 1 = intercept * x + slope * y.
    rows = [(1 / point.time_s, point.instructions / point.time_s) for point in points]
    xx, xy, yy = (math.fsum(a * b for a, b in pairs) for pairs in _products(rows))
    x, y = (math.fsum(column) for column in zip(*rows, strict=True))
    determinant = xx * yy - xy * xy
    intercept = (x * yy - y * xy) / determinant if determinant > 0 else 0.0
    if intercept > 0:
        slope = (y * xx - x * xy) / determinant
        covariance = yy / determinant, xx / determinant, -xy / determinant
    else:
        intercept, slope, covariance = 0.0, y / yy, (0.0, 1 / yy, 0.0)
    if slope <= 0:
        raise UnfitError("time does not grow with instructions")
    freedom = max(1, len(points) - 2)
    spread = math.sqrt(math.fsum((1 - intercept * a - slope * b) ** 2 for a, b in rows) / freedom)
    return Line(intercept, slope, spread, covariance, freedom)


def _products(rows: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], ...]:
    return [(a, a) for a, _ in rows], [(a, b) for a, b in rows], [(b, b) for _, b in rows]


def _types(operation: Operation, graph: Graph) -> str:
    read = [graph.tensors[index].dtype for index in operation.inputs[: _WEIGHTS_INPUT + 1] if index >= 0]
    return " x ".join(read)
