"""The gate: budgets held against measurements. Pure, so that `build` and `check` judge alike.

Where a figure has a 95 % interval, the interval is judged: all of it within the limit passes, all of it beyond fails,
and where the limit lies inside nothing can be told. What was sampled in blocks and has no interval was sampled too
little. Counted instructions repeat, and are judged by their value, and so are figures of before there were intervals.

So it is where a figure is of this machine and the target's lies between two others: TensorFlow Lite Micro's arena is
measured with 64-bit pointers, and a core with 32-bit ones needs no more, and at least what its structures take. A limit
over the former is kept, one under the latter is broken, and between them only the device can tell.

A limit against a baseline is judged in the same way by the change of the figure: `Check.value` is the change as a share
of the baseline's figure (0.02 for "+2 %"), and `Check.headroom` what is left of the limit, in the same.

There is a check for every budget that is handed in, whether there is a figure for it or not, and the verdict is the
worst of them: a budget cannot be left out on the way from its name to the exit code.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild.core import place
from edgebuild.core.budget import COSTS, Budget, Level, Subject, Unit
from edgebuild.core.comparison import Change, Comparison, Interval
from edgebuild.core.measurement import Measurement, Mode, Paired
from edgebuild.core.place import PlaceKind
from edgebuild.core.verdict import Check, Requirement, Status, Verdict, worst
from edgebuild.gating import pairing
from edgebuild.units import format_bytes, format_change, format_count, format_joules, format_seconds, format_share

_LAST_BITS = 1e-9
# What needs more samples than so many times those that there are is not promised.
_MOST_TIMES = 1000
_FILE = "file"
_MEDIAN = "median"
# What the reader can do about an interval that is too wide, for figures that have one.
_MORE = {
    Subject.LATENCY: "give it more time ([bench] time) or a quieter machine",
    Subject.INSTRUCTIONS: "give it more time ([bench] time)",
}
_MORE_PROCESSES = "give it more processes ([bench] workers) or a quieter machine"
_FORMATS: Mapping[Unit, Callable[[float], str]] = {
    Unit.SECONDS: format_seconds,
    Unit.SHARE: format_share,
    Unit.COUNT: format_count,
    Unit.JOULES: format_joules,
}


class _Figure(NamedTuple):
    """What a limit is compared with: a value, where it is noisy its interval, what it is, and what disturbed it.

    `paired` is what the interval of a drop comes from.
    """

    value: float
    interval: Interval | None = None
    basis: str = ""
    conditions: tuple[str, ...] = ()
    paired: Paired | None = None


class _Lack(NamedTuple):
    """Why there is nothing to hold a limit against, and what a hard limit is then."""

    reason: str
    status: Status = Status.INCONCLUSIVE


class _Known(NamedTuple):
    """All that budgets are held against; see `judge`."""

    measurements: Sequence[Measurement]
    lacking: Mapping[str, str]
    comparison: Comparison | None
    lower_is_better: bool
    baseline_required: bool


def judge(
    budgets: Iterable[Budget],
    measurements: Sequence[Measurement],
    *,
    lower_is_better: bool,
    lacking: Mapping[str, str] = MappingProxyType({}),
    comparison: Comparison | None = None,
    baseline_required: bool = False,
    requirements: Sequence[Requirement] = (),
) -> Verdict:
    """Hold each budget against its figure.

    Args:
        budgets: the limits; each gets a check, in this order.
        measurements: the figures there are; a budget without one is inconclusive.
        lower_is_better: the direction of the accuracy metric, whose limit is a minimum unless it is true.
        lacking: why there is no figure, by "SUBJECT" or "SUBJECT on PLACE", as far as that is known.
        comparison: with the baseline, for limits against one; None where none was named. One that was named and cannot
            be used is a warning: a first release has none, and a damaged one is no fault of this build.
        baseline_required: whether it is inconclusive instead.
        requirements: what else was named and is not there.
    """
    known = _Known(measurements, lacking, comparison, lower_is_better, baseline_required)
    checks = tuple(_check(budget, known) for budget in budgets)
    required = (*_baseline(known), *requirements)
    status = worst([*(check.status for check in checks), *(item.status for item in required)])
    return Verdict(status=status, checks=checks, requirements=required)


def _baseline(known: _Known) -> Iterator[Requirement]:
    """The baseline, where it was named or is required and cannot be used."""
    comparison = known.comparison
    if comparison is not None and not comparison.sha256:
        why = f"no comparison: {comparison.lacking}"
        yield Requirement(what=f"baseline {comparison.baseline}", status=_without_baseline(known), reason=why)
    if comparison is None and known.baseline_required:
        why = "a baseline is required, and this build was compared with none: name one (--against) and build"
        yield Requirement(what="baseline", status=Status.INCONCLUSIVE, reason=why)


def _without_baseline(known: _Known) -> Status:
    return Status.INCONCLUSIVE if known.baseline_required else Status.WARN


def _check(budget: Budget, known: _Known) -> Check:
    found = _change(budget, known) if budget.of_baseline else _figure(budget, known)
    if isinstance(found, _Lack):
        return _judged(budget, found.status, None, None, found.reason)
    check = _held(budget, found, is_minimum=budget.is_minimum(lower_is_better=known.lower_is_better))
    return replace(check, basis=found.basis)


def _held(budget: Budget, figure: _Figure, *, is_minimum: bool) -> Check:
    """A limit held against a figure; what cannot be told has no headroom, since it is not known to have any."""
    value, limit = figure.value, budget.limit
    lowest, highest = figure.interval or (value, value)
    # A drop is a difference of two floats: equal to the limit on paper must not fail on the last bit.
    blur = _LAST_BITS * max(abs(limit), abs(value))
    headroom, at_worst, at_best = limit - value, limit - highest, limit - lowest
    if is_minimum:
        headroom, at_worst, at_best = value - limit, lowest - limit, highest - limit
    if at_best < -blur:
        reason = "below the limit" if is_minimum else "over the limit"
        reason += f": {_span(budget, figure.interval)}" if figure.interval else ""
        return _judged(budget, Status.FAIL, value, headroom, reason)
    if at_worst < -blur:
        return _judged(budget, Status.INCONCLUSIVE, value, None, _around(budget, figure))
    if headroom < budget.headroom * abs(limit) - blur:
        return _judged(budget, Status.WARN, value, headroom, "kept, with less headroom than asked for")
    return _judged(budget, Status.PASS, value, headroom, "kept")


def _judged(budget: Budget, status: Status, value: float | None, headroom: float | None, reason: str) -> Check:
    """A check whose outcome is for a hard limit; one of level warn only warns."""
    if budget.level == Level.WARN and status in (Status.FAIL, Status.INCONCLUSIVE):
        status = Status.WARN
    return Check(budget=budget, status=status, value=value, headroom=headroom, reason=reason)


def _figure(budget: Budget, known: _Known) -> _Figure | _Lack:
    """The figure of a budget: for a subject that holds everywhere, the first, which is on the target's own kernels."""
    found = [
        measurement
        for measurement in known.measurements
        if (measurement.subject, measurement.unit) == (budget.subject, budget.unit)
        and budget.on in (None, measurement.where)
    ]
    if not found:
        return _Lack(_absent(budget, known))
    measurement = found[0]
    if budget.at != _MEDIAN and budget.at not in measurement.statistics:
        return _Lack(f"the figure for {_placed(budget)} has no {budget.at}: measure again")
    value = measurement.value if budget.at == _MEDIAN else measurement.statistics[budget.at]
    if math.isnan(value):
        return _Lack("the figure is not a number")
    if measurement.mode == Mode.EMULATED:
        # Counts differ by less from run to run than any limit could mean.
        return _Figure(value, basis=_basis(measurement))
    if budget.confidence:
        return _sampled(budget, measurement)
    interval = measurement.between or measurement.intervals.get(budget.at)
    if interval is None and measurement.blocks:
        return _Lack(f"too few samples for an interval of the {_name(budget)}: give it more time ([bench] time)")
    return _Figure(value, interval, _basis(measurement), measurement.conditions)


def _sampled(budget: Budget, measurement: Measurement) -> _Figure | _Lack:
    """A drop with the interval in which it lies for other samples too."""
    if measurement.paired is None:
        return _Lack(
            "no interval of the drop is known: only scores that are means over samples have one, and those of builds "
            "with this edgebuild; leave `confidence` out to judge the evaluation split itself"
        )
    interval = pairing.within(measurement.paired, budget.confidence)
    return _Figure(measurement.value, interval, _basis(measurement), paired=measurement.paired)


def _basis(measurement: Measurement) -> str:
    """How a figure was had, and of what: a time of this host is never the target's."""
    where, mode = measurement.where, str(measurement.mode)
    if measurement.of:
        return f"{mode}, {measurement.of}"
    if where == _FILE or measurement.subject not in (*COSTS, Subject.INSTRUCTIONS):
        return mode
    if place.read(where).kind == PlaceKind.HOST:
        return f"{mode}, TFLite interpreter on this host"
    if place.read(where).kind == PlaceKind.TFLM:
        return f"{mode}, TensorFlow Lite Micro on this host"
    return f"{mode} on {where}"


def _change(budget: Budget, known: _Known) -> _Figure | _Lack:
    """The change of a budget's figure against the baseline's, as a share of that.

    A figure that could not be had here is inconclusive, as for other limits; one that the baseline lacks is no fault of
    this build.
    """
    comparison = known.comparison
    if comparison is None:
        return _Lack("no comparison: no baseline was named (--against, or [bench] baseline)")
    if not comparison.sha256:
        return _Lack(f"no comparison: {comparison.lacking}", _without_baseline(known))
    found = next((change for change in comparison.changes if _is_of(change, budget)), None)
    if found is not None:
        interval = (found.interval[0] - 1, found.interval[1] - 1) if found.interval else None
        measured = next((item for item in known.measurements if _is_there(item, budget)), None)
        basis = _basis(measured) if measured is not None else ""
        return _Figure(found.ratio - 1, interval, basis, measured.conditions if measured is not None else ())
    if not any(_is_there(measurement, budget) for measurement in known.measurements):
        return _Lack(_absent(budget, known))
    if comparison.lacking:
        return _Lack(f"no comparison: {comparison.lacking}", _without_baseline(known))
    if budget.subject in COSTS:
        return _Lack(f"{_name(budget)} was not compared with the baseline's: too few samples of both, taken in turn")
    return _Lack(f"nothing is recorded of the baseline's {_name(budget)}: build it again with this edgebuild")


def _is_of(change: Change, budget: Budget) -> bool:
    is_there = change.subject == budget.subject and budget.on in (None, change.where)
    return is_there and change.at in ("", budget.at)


def _is_there(measurement: Measurement, budget: Budget) -> bool:
    return measurement.subject == budget.subject and budget.on in (None, measurement.where)


def _absent(budget: Budget, known: _Known) -> str:
    why = known.lacking.get(_placed(budget)) or known.lacking.get(budget.subject)
    return f"no figure for {_placed(budget)}" + (f": {why}" if why else "")


def _around(budget: Budget, figure: _Figure) -> str:
    """Why an interval around the limit says nothing, and what to do."""
    assert figure.interval is not None
    more = _more_samples(budget, figure) if budget.confidence else _MORE.get(budget.subject, _MORE_PROCESSES)
    if budget.subject == Subject.ARENA:
        more = _on_device(figure)
    text = f"{_span(budget, figure.interval)} lies around the limit of {_shown(budget, budget.limit)}: {more}"
    return text + (f"; {', '.join(figure.conditions)}" if figure.conditions else "")


def _on_device(figure: _Figure) -> str:
    """What decides an arena that was not measured on the device."""
    assert figure.interval is not None
    # What the figure is of stands in its basis, where that is another runtime's.
    why = (
        "a core with 32-bit pointers needs less than was measured with 64-bit ones" if "; " not in figure.basis else ""
    )
    most = f"{figure.interval[1]:,.0f} bytes ({why})" if why else f"{figure.interval[1]:,.0f} bytes"
    return f"load it on the device and read what it takes, or allow the {most}: arena={figure.interval[1]:.0f}B"


def _more_samples(budget: Budget, figure: _Figure) -> str:
    """What would decide it: so many times as many samples, of which as large a share does worse and better."""
    paired, confidence = figure.paired, budget.confidence
    assert paired is not None
    assert confidence is not None

    def is_decided(times: int) -> bool:
        low, high = pairing.within(pairing.repeated(paired, times), confidence)
        return not low <= budget.limit <= high

    if not is_decided(_MOST_TIMES):
        return "give it more evaluation samples"
    times = bisect.bisect_left(range(_MOST_TIMES + 1), True, lo=2, key=is_decided)
    return f"give it more evaluation samples, about {times} times as many if the drop stays what it is"


def _span(budget: Budget, interval: Interval) -> str:
    low, high = (_shown(budget, end) for end in interval)
    return f"{low} to {high}"


def _shown(budget: Budget, value: float) -> str:
    if budget.of_baseline:
        return format_change(value)
    if budget.subject == Subject.ACCURACY_DROP and budget.unit == Unit.SHARE:
        return format_share(value).replace("%", "points")
    if budget.unit == Unit.BYTES:
        return format_bytes(value, binary=budget.binary)
    return _FORMATS.get(budget.unit, "{:.6g}".format)(value)


def _name(budget: Budget) -> str:
    return _placed(budget) if budget.at == _MEDIAN else f"{budget.at} of {_placed(budget)}"


def _placed(budget: Budget) -> str:
    return f"{budget.subject} on {budget.on}" if budget.on else str(budget.subject)
