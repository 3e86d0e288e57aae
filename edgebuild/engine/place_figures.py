"""From what was measured at a place to figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from edgebuild import stats
from edgebuild.actions.measuring import Timing
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.place import Place
from edgebuild.core.settings import BenchSettings

_RESOLUTION_DIGITS = {Unit.SECONDS: 9, Unit.COUNT: 0}


def of_timing(place: Place, bench: BenchSettings, timing: Timing) -> Iterator[Measurement]:
    """The figures of an artifact at a place: the cost of an inference, and what there is beside it."""
    samples = [sample for block in timing.blocks for sample in block]
    main = _figure(place, timing, timing.subject, timing.statistics["median"], samples)
    settings = {"processes": len(timing.processes)}
    if not place.emulates:
        settings["threads"] = bench.threads
    yield replace(
        main,
        blocks=tuple(len(block) for block in timing.blocks),
        statistics=timing.statistics,
        intervals=timing.intervals,
        conditions=timing.conditions,
        settings=settings,
    )
    if place.emulates:
        return
    for subject, found in ((Subject.FIRST_INFERENCE, timing.first), (Subject.LOAD, timing.load)):
        if found:
            yield _figure(place, timing, subject, stats.median(found), found)
    if timing.peak_memory_bytes:
        peaks = timing.peak_memory_bytes
        yield _figure(place, timing, Subject.PEAK_MEMORY, max(peaks), peaks)
    if timing.energy_j is not None:
        yield _figure(place, timing, Subject.ENERGY, timing.energy_j, ())


def _figure(place: Place, timing: Timing, subject: Subject, value: float, samples: Sequence[float]) -> Measurement:
    digits = _RESOLUTION_DIGITS.get(subject.unit)
    return Measurement(
        subject=subject,
        value=value,
        unit=subject.unit,
        mode=Mode.EMULATED if place.emulates else Mode.MEASURED,
        where=place.label,
        machine=timing.machine,
        kernels=timing.kernels,
        samples=tuple(samples if digits is None else (round(sample, digits) for sample in samples)),
        versions=timing.versions,
    )
