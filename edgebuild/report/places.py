"""What was measured of an artifact, place by place, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgebuild.core.budget import COSTS, Subject
from edgebuild.core.comparison import Change, Comparison
from edgebuild.core.measurement import Measurement
from edgebuild.report import wording
from edgebuild.report.tables import aligned
from edgebuild.units import format_bytes, format_seconds


def shown(measurements: Sequence[Measurement], *, hides_host: bool) -> tuple[Measurement, ...]:
    """The figures; without what this host takes where that is none of the target's (`hides_host`)."""
    return tuple(found for found in measurements if not (hides_host and _is_of_this_host(found)))


def hidden(measurements: Sequence[Measurement], *, hides_host: bool) -> Iterator[tuple[str, str]]:
    """The row that says that something is not shown."""
    if len(shown(measurements, hides_host=hides_host)) < len(measurements):
        yield "latency", "not measured on the target's device (--on names one); --verbose shows this host's"


def notes(said: Sequence[str], *, hides_host: bool, of: str = "") -> tuple[str, ...]:
    """What there is to say, without what disturbed a measurement that is not shown; `of` stands before such notes."""
    return tuple(note for note in said if not (hides_host and note.startswith(f"{of}{wording.HERE}: ")))


def _is_of_this_host(found: Measurement) -> bool:
    return found.subject in COSTS and found.where.partition(":")[0] == wording.HERE


def rows(measurements: Sequence[Measurement]) -> Iterator[tuple[str, str]]:
    """The rows of a summary, each with its label: times and instructions at every place."""
    for where in dict.fromkeys(found.where for found in measurements):
        figures = {found.subject: found for found in measurements if found.where == where}
        if Subject.LATENCY in figures:
            yield "latency", wording.latency(figures[Subject.LATENCY])
        if Subject.INSTRUCTIONS in figures:
            yield "cost", wording.instructions(figures[Subject.INSTRUCTIONS])
        beside = ", ".join(_beside(figures))
        if beside:
            yield "", f"{beside} on {wording.place(where)} ({figures[Subject.LATENCY].mode})"


def peaks(measurements: Sequence[Measurement]) -> Iterator[str]:
    """The peak memory at every place that tells it."""
    for found in measurements:
        if found.subject == Subject.PEAK_MEMORY:
            yield f"{format_bytes(found.value)} peak on {wording.place(found.where)} ({found.mode})"


def comparison(found: Comparison) -> Iterator[tuple[str, str]]:
    """The rows that tell how an artifact stands to its baseline."""
    if not found.changes:
        yield "baseline", f"no comparison with {found.baseline}: {found.lacking}"
        return
    yield "baseline", found.baseline + (f" ({found.lacking})" if found.lacking else "")
    for line in aligned([_change(change) for change in found.changes], right=(1, 3, 4)):
        yield "", line.strip()
    tests = dict.fromkeys(change.test for change in found.changes if change.interval is not None)
    yield from (("", f"95 % intervals by: {test}") for test in tests)


def _beside(figures: Mapping[Subject, Measurement]) -> Iterator[str]:
    for subject, words in ((Subject.LOAD, "to load"), (Subject.FIRST_INFERENCE, "for the first inference")):
        if subject in figures:
            yield f"{format_seconds(figures[subject].value)} {words}"
    if Subject.ENERGY in figures:
        yield f"{wording.figure(figures[Subject.ENERGY].value, Subject.ENERGY.unit)} an inference"


def _change(change: Change) -> tuple[str, ...]:
    before, after = (wording.figure(value, change.unit, change.subject) for value in (change.baseline, change.value))
    name = f"{change.subject} {change.at}".replace("_", " ").strip()
    where = "" if change.where in ("file", wording.HERE) else f" on {change.where}"
    span = f"({_percent(change.interval[0])} to {_percent(change.interval[1])})" if change.interval is not None else ""
    return f"{name}{where}", before, "->", after, _percent(change.ratio), span


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.2f} %"
