"""An artifact's figures held against those of its baseline. Pure: what was measured is handed in.

Each figure is compared in one of these ways, which `Change.test` names:

- exactly, where it repeats: sizes, memory plans, what a compiler estimates. Counted instructions repeat within
  0.002 %; those that differ by less than 0.05 % are taken for equal, and any larger difference is one.
- by samples of both artifacts taken in turn, as the harness compares them: latency.
- by Welch's t interval (B. L. Welch, Biometrika 34, 1947) of the difference of mean logarithms, where each fresh
  process has one figure: load, first inference, peak memory. The ratio is of geometric means.

Figures of one artifact that were measured at another time are never compared with noisy ones of now.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from edgebuild.core.budget import Subject
from edgebuild.core.comparison import Change, Comparison, Interval
from edgebuild.core.measurement import Measurement
from edgebuild.stats import student

_EXACT = (
    *(Subject.SIZE, Subject.GZIP_SIZE, Subject.ACTIVATIONS, Subject.ARENA, Subject.FLASH),
    *(Subject.NPU_LATENCY, Subject.NPU_SRAM),
)
_BY_PROCESS = (Subject.FIRST_INFERENCE, Subject.LOAD, Subject.PEAK_MEMORY)
_REPEATS_WITHIN = 5e-4
EXACT = "exact"
COUNTED = "exact, counts within 0.05 % are equal"


class Ratio(Protocol):
    """A cost over its baseline's, its 95 % interval, and the test that it comes from."""

    @property
    def ratio(self) -> float:
        """Artifact / baseline."""
        ...

    @property
    def interval(self) -> Interval:
        """Where the ratio lies with 95 %."""
        ...

    @property
    def test(self) -> str:
        """The name of the test."""
        ...


class Turns(NamedTuple):
    """What was measured of both artifacts in turns at one place.

    Attributes:
        where: the place.
        baseline: the figures of the baseline, taken with those of the artifact.
        ratios: of the cost of an inference, by statistic: "median", "p90", "p99".
    """

    where: str
    baseline: tuple[Measurement, ...]
    ratios: Mapping[str, Ratio] = MappingProxyType({})


class Before(NamedTuple):
    """What is known of a baseline.

    Attributes:
        named: as the user named it.
        sha256: of its artifact; empty where there is nothing to compare with.
        measurements: that were recorded of it.
        lacking: why there is nothing to compare with, or why a part is missing.
    """

    named: str
    sha256: str
    measurements: tuple[Measurement, ...]
    lacking: str = ""


def compare(before: Before, after: Sequence[Measurement], turns: Sequence[Turns] = ()) -> Comparison:
    """Hold an artifact against its baseline.

    Args:
        before: the baseline.
        after: all figures of the artifact.
        turns: what was measured of both in turns, by place.

    Returns:
        A change for each figure that both have and that can be compared; none where there is no baseline.
    """
    if not before.sha256:
        return Comparison(baseline=before.named, lacking=before.lacking)
    changes = (*_exact(before.measurements, after), *_counted(before.measurements, after, turns), *_noisy(after, turns))
    return Comparison(baseline=before.named, sha256=before.sha256, changes=changes, lacking=before.lacking)


def _exact(before: Sequence[Measurement], after: Sequence[Measurement]) -> Iterator[Change]:
    for measurement in after:
        earlier = _same(measurement, before)
        if measurement.subject in _EXACT and earlier is not None:
            yield from _change(measurement, earlier.value, measurement.value)


def _counted(before: Sequence[Measurement], after: Sequence[Measurement], turns: Sequence[Turns]) -> Iterator[Change]:
    """Instructions, counted now for both, else as recorded by the same emulator and runtime."""
    together = {turn.where: turn.baseline for turn in turns}
    for measurement in after:
        if measurement.subject != Subject.INSTRUCTIONS:
            continue
        earlier = _same(measurement, together.get(measurement.where, ()))
        if earlier is None:
            recorded = _same(measurement, before)
            earlier = recorded if recorded is not None and _same_conditions(recorded, measurement) else None
        if earlier is None:
            continue
        for at in measurement.intervals or ("median",):
            values = [found.statistics.get(at, found.value) for found in (earlier, measurement)]
            yield from _change(measurement, *values, at=at, repeats_within=_REPEATS_WITHIN)


def _noisy(after: Sequence[Measurement], turns: Sequence[Turns]) -> Iterator[Change]:
    for turn in turns:
        for measurement in after:
            earlier = _same(measurement, turn.baseline) if measurement.where == turn.where else None
            if earlier is None:
                continue
            if measurement.subject == Subject.LATENCY:
                yield from _in_turn(earlier, measurement, turn.ratios)
            elif measurement.subject in _BY_PROCESS:
                yield from _by_process(earlier, measurement)


def _in_turn(before: Measurement, after: Measurement, ratios: Mapping[str, Ratio]) -> Iterator[Change]:
    for at, found in ratios.items():
        yield Change(
            subject=after.subject,
            unit=after.unit,
            where=after.where,
            baseline=before.statistics.get(at, before.value),
            value=after.statistics.get(at, after.value),
            ratio=found.ratio,
            at=at,
            interval=found.interval,
            test=found.test,
        )


def _by_process(before: Measurement, after: Measurement) -> Iterator[Change]:
    """Geometric means of one figure a process, where at least two processes of each tell how much these vary."""
    samples = (before.samples, after.samples)
    if any(len(found) < 2 or min(found) <= 0 for found in samples):
        return
    first, second = ([math.log(sample) for sample in found] for found in samples)
    difference = _mean(second) - _mean(first)
    half = _half_interval(first, second)
    yield Change(
        subject=after.subject,
        unit=after.unit,
        where=after.where,
        baseline=math.exp(_mean(first)),
        value=math.exp(_mean(second)),
        ratio=math.exp(difference),
        interval=(math.exp(difference - half), math.exp(difference + half)),
        test=f"Welch's t on logarithms of {len(first)} and {len(second)} processes",
    )


def _half_interval(first: Sequence[float], second: Sequence[float]) -> float:
    """Half Welch's 95 % interval of a difference of means; its degrees of freedom are rounded down."""
    parts = [_variance(sample) / len(sample) for sample in (first, second)]
    total = sum(parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True))
    return student(max(1, int(freedom))) * math.sqrt(total)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    middle = _mean(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)


def _change(
    after: Measurement, baseline: float, value: float, *, at: str = "", repeats_within: float = 0.0
) -> Iterator[Change]:
    """An exact change; none against nothing, which has no ratio."""
    if baseline <= 0:
        if value != baseline:
            return
        ratio = 1.0
    else:
        ratio = value / baseline
    yield Change(
        subject=after.subject,
        unit=after.unit,
        where=after.where,
        baseline=baseline,
        value=value,
        ratio=1.0 if abs(ratio - 1) < repeats_within else ratio,
        at=at,
        test=COUNTED if repeats_within else EXACT,
    )


def _same(measurement: Measurement, others: Sequence[Measurement]) -> Measurement | None:
    """The figure of the same subject, unit, place and kernels."""
    return next((other for other in others if _kind(other) == _kind(measurement)), None)


def _kind(measurement: Measurement) -> tuple[str, ...]:
    return (measurement.subject, measurement.unit, measurement.where, measurement.kernels)


def _same_conditions(first: Measurement, second: Measurement) -> bool:
    """Whether two counts are of the same emulated core, runtime and threads."""
    return (first.machine, first.versions, _threads(first)) == (second.machine, second.versions, _threads(second))


def _threads(measurement: Measurement) -> int:
    return measurement.settings.get("threads", 1)
