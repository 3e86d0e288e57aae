"""Budgets as they are written in TOML and on the command line, read into `Budget`.

A subject has one limit or a list of them, each a text or a table: `latency = ["5 ms", { limit = "+5 %", at = "p90" }]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from edgebuild import plugins
from edgebuild.core.budget import SCORES, Budget, Level, Subject, Unit
from edgebuild.core.metric import Metric
from edgebuild.core.place import PlaceKind
from edgebuild.core.settings import MetricKind
from edgebuild.decode import closest
from edgebuild.errors import UsageError
from edgebuild.layering import Layered, Tree
from edgebuild.units import (
    UnitError,
    format_share,
    is_binary,
    is_change,
    parse_bytes,
    parse_change,
    parse_count,
    parse_joules,
    parse_number,
    parse_part,
    parse_seconds,
    parse_share,
)

OFF = "off"
HOST = "host"
# A count is of one core, and a release should not be gated on whichever happens to be emulated.
COUNTED_ON = "arm64:cortex-a72"
MEDIAN = "median"
_KEYS = ("limit", "level", "headroom", "on", "at", "confidence")
_LEAST_CONFIDENCE = 0.5
_STATISTICS = (MEDIAN, "p90", "p99")
_PARSERS = {
    Unit.BYTES: parse_bytes,
    Unit.SECONDS: parse_seconds,
    Unit.SHARE: parse_share,
    Unit.RELATIVE: parse_share,
    Unit.NUMBER: parse_number,
    Unit.COUNT: parse_count,
    Unit.JOULES: parse_joules,
}
# What depends on a place, and the place where a budget names none; accuracy is then of the target's kernels.
_PLACES = {
    Subject.LATENCY: HOST,
    Subject.FIRST_INFERENCE: HOST,
    Subject.LOAD: HOST,
    Subject.INSTRUCTIONS: COUNTED_ON,
    Subject.ENERGY: HOST,
    Subject.PEAK_MEMORY: HOST,
    Subject.ACCURACY: None,
    Subject.ACCURACY_DROP: None,
}
# Each process has one load, one first inference and one peak: too few for percentiles.
_SAMPLED = (Subject.LATENCY, Subject.INSTRUCTIONS)
_NEVER_RELATIVE = {
    Subject.ACCURACY: "accuracy_drop limits what is lost against the float network",
    Subject.ACCURACY_DROP: "it is a change already, against the float network",
    Subject.NPU_SHARE: "it is a share already: write the least that it may be",
    Subject.ENERGY: "one figure has no interval: write a limit in joules",
}
_LAST_BITS = 1e-9
# Scores that are no means over samples, so that no interval of their drop is known.
_NO_MEANS = (MetricKind.AUC, MetricKind.MIOU, MetricKind.IOU, MetricKind.RMSE, MetricKind.R2)


def read(layered: Layered, metric: Metric) -> tuple[Budget, ...]:
    """All budgets of a `[budgets]` table whose layers have been merged, those of one subject in the order written.

    Subjects set to "off" are left out.

    Raises:
        UsageError: an unknown subject or key, or a limit that does not fit its subject; all of them in one message.
    """
    budgets: list[Budget] = []
    problems: list[str] = []
    for name, written in layered.values.items():
        origin = layered.origin_of(name)
        if isinstance(written, list | tuple) and not written:
            problems.append(f'{name}: has no limit: write "{OFF}" to drop it' + (f" ({origin})" if origin else ""))
        for limit in written if isinstance(written, list | tuple) else [written]:
            try:
                if not is_off(limit):
                    budgets.append(_budget(name, limit, origin, metric))
            except (UnitError, ValueError) as error:
                problems.append(f"{name}: {error}" + (f" ({origin})" if origin else ""))
    if problems:
        raise UsageError("a budget cannot be read", "\n".join(problems))
    return tuple(sorted(budgets, key=lambda budget: list(Subject).index(budget.subject)))


def settled(budgets: Sequence[Budget], metric: Metric) -> tuple[Budget, ...]:
    """Budgets that were read before the metric was chosen, in its unit: points of a share, else relative in %.

    Raises:
        UsageError: a limit that does not fit the score.
    """
    known = tuple(_settled(budget, metric) if budget.subject in SCORES else budget for budget in budgets)
    for budget in known:
        problem = _problem(budget, metric)
        if problem:
            origin = f" ({budget.origin})" if budget.origin else ""
            chosen = f"\nThe metric is {metric.label}: {metric.why}." if metric.why else ""
            raise UsageError("a budget cannot be read", f"{budget.subject}: {problem}{origin}.{chosen}")
    return known


def _settled(budget: Budget, metric: Metric) -> Budget:
    if metric.is_share:
        if budget.unit == Unit.NUMBER:
            meant = budget.limit if budget.limit > 1 else 100 * budget.limit  # 0.9 or 90
            raise UsageError(
                "a budget cannot be read",
                f"{budget.subject}: '{budget.limit:g}' has no unit, and {metric.label} is a percentage"
                + (f" ({metric.why})." if metric.why else "."),
                f'Write it in %: {budget.subject} = "{meant:g} %".',
            )
        return replace(budget, unit=Unit.SHARE)
    if budget.unit != Unit.SHARE or metric.is_open:
        return budget
    if budget.subject == Subject.ACCURACY_DROP:
        return replace(budget, unit=Unit.RELATIVE)
    raise UsageError(
        f"the budget {budget.subject} is in %, and {metric.label} is none",
        f"The metric was chosen because {metric.why}.",
        f"Write a number ({budget.subject} = {budget.limit:g}), or name another metric ([metric] name).",
    )


def is_off(written: object) -> bool:
    """Whether what is written of a subject drops the budgets that others set on it."""
    return written == OFF or written is False  # 0 equals False, and is a limit


def from_option(text: str) -> Tree:
    """The table that an option such as "size=60KB" or "latency=5ms,on=host,at=p99,level=warn" stands for.

    Raises:
        UsageError: it has not the form NAME=LIMIT[,KEY=VALUE...].
    """
    first, *more = text.split(",")
    name, equals, limit = first.partition("=")
    fields = {"limit": limit.strip()}
    for part in more:
        key, equal, value = part.partition("=")
        equals = equals and equal
        fields[key.strip()] = value.strip()
    if not equals or not limit.strip():
        raise UsageError(
            f"--budget {text!r} cannot be read",
            remedy="Write NAME=LIMIT[,level=warn][,headroom=10%][,on=host][,at=p90], for example --budget size=60KB.",
        )
    # Without further keys it is the limit alone, which takes the place of all that a profile says of the subject.
    return {name.strip(): fields["limit"] if len(fields) == 1 else {"level": str(Level.ERROR), **fields}}


def from_options(texts: Sequence[str]) -> Tree:
    """The table that several options stand for, each as `from_option` reads it.

    A subject may be limited at several places, by several statistics, absolutely and against a baseline; of two limits
    that differ in none of these the later holds, and "off" drops those before it.

    Raises:
        UsageError: one cannot be read.
    """
    asked: dict[str, dict[object, object]] = {}
    for text in texts:
        ((name, written),) = from_option(text).items()
        before = {} if is_off(written) else asked.get(name, {})
        asked[name] = {**{aim: limit for aim, limit in before.items() if not is_off(limit)}, _aim(written): written}
    lists = {name: list(limits.values()) for name, limits in asked.items()}
    # One limit alone is left as it is: a table is then laid over that of a profile key by key.
    return {name: limits if len(limits) > 1 else limits[0] for name, limits in lists.items()}


def _aim(written: object) -> tuple[object, ...]:
    """What tells a limit from others on the same subject."""
    fields = _fields(written)
    aims = (fields.get(key) for key in ("on", "at", "confidence"))
    return is_change(fields["limit"]), fields.get("level", Level.ERROR), *aims


def _fields(written: object) -> Mapping[str, object]:
    return written if isinstance(written, Mapping) else {"limit": written}


def _budget(name: str, written: object, origin: str, metric: Metric) -> Budget:
    if name not in set(Subject):
        raise ValueError(f"no such budget{closest(name, Subject)} (there are: {', '.join(Subject)})")
    subject = Subject(name)
    fields = _fields(written)
    for key in fields:
        if key not in _KEYS:
            raise ValueError(f"{key} is not a key of a budget{closest(key, _KEYS)}")
    if "limit" not in fields:
        raise ValueError("has no limit")
    relative = _is_relative(subject, fields["limit"])
    unit = Unit.RELATIVE if relative else _unit(subject, fields["limit"], metric)
    budget = Budget(
        subject=subject,
        limit=parse_change(fields["limit"]) if relative else _PARSERS[unit](fields["limit"]),
        unit=unit,
        level=_level(fields.get("level", Level.ERROR)),
        headroom=parse_part(fields["headroom"]) if "headroom" in fields else 0.0,
        on=_place(subject, fields.get("on")),
        on_is_assumed=fields.get("on") is None and _PLACES.get(subject) is not None,
        at=_statistic(subject, fields.get("at")),
        confidence=_confidence(subject, fields["confidence"]) if "confidence" in fields else 0.0,
        of_baseline=relative,
        binary=unit == Unit.BYTES and is_binary(fields["limit"]),
        origin=origin,
    )
    problem = _problem(budget, metric)
    if problem:
        raise ValueError(f"{fields['limit']!r} cannot be a limit: {problem}")
    return budget


def _is_relative(subject: Subject, limit: object) -> bool:
    """Whether a limit is a change against the baseline.

    Raises:
        ValueError: it names a baseline, and its subject has none.
    """
    if subject in _NEVER_RELATIVE:
        # "+5 %" of a drop can be meant in one way alone; of a minimum it would be read as 5 %, which anything keeps.
        is_signed = is_change(limit) and subject != Subject.ACCURACY_DROP
        if is_signed or "baseline" in str(limit):
            raise ValueError(f"{limit!r}: {subject} is not limited against a baseline: {_NEVER_RELATIVE[subject]}")
        return False
    return is_change(limit)


def _unit(subject: Subject, limit: object, metric: Metric) -> Unit:
    """A score's unit depends on the metric.

    Where the score is no share of one, a drop in % is relative to the float network's score; a callable's score may be
    limited in % all the same, since it may return a share. What labels will choose is settled later (`settled`).
    """
    if subject not in SCORES or metric.is_share:
        return subject.unit
    if not str(limit).rstrip().endswith("%"):
        return Unit.NUMBER
    if metric.is_auto:
        return subject.unit
    if subject == Subject.ACCURACY_DROP:
        return Unit.RELATIVE
    return Unit.SHARE if metric.is_open else Unit.NUMBER


def _level(text: object) -> Level:
    if isinstance(text, str) and text in set(Level):
        return Level(text)
    raise ValueError(f"level {text!r} is unknown: write {' or '.join(Level)}")


def _statistic(subject: Subject, at: object) -> str:
    if at is None:
        return MEDIAN
    if subject not in _SAMPLED:
        raise ValueError(f"`at` has no meaning for {subject}: only {' and '.join(_SAMPLED)} have enough samples")
    if at not in _STATISTICS:
        raise ValueError(f"at {at!r} is no statistic: write {', '.join(_STATISTICS[:-1])} or {_STATISTICS[-1]}")
    return str(at)


def _confidence(subject: Subject, text: object) -> float:
    if subject != Subject.ACCURACY_DROP:
        raise ValueError(f"`confidence` has no meaning for {subject}: it is of accuracy_drop alone")
    share = round(parse_share(text), 6)  # 95 % is 0.95, and not the float beside it
    if not _LEAST_CONFIDENCE <= share < 1:
        raise ValueError(f"confidence {text!r}: write a percentage from 50 % to below 100 %, as a rule 95 %")
    return share


def _place(subject: Subject, on: object) -> str | None:
    """The place of a budget as measurements name it; None where it is the same everywhere."""
    if subject not in _PLACES:
        if on is not None:
            raise ValueError(f"`on` has no meaning for {subject}: it is the same everywhere")
        return None
    if on is None:
        return _PLACES[subject]
    found = plugins.place(str(on))
    if subject == Subject.INSTRUCTIONS and not found.emulates:
        raise ValueError(f"instructions are counted on emulated cores alone: write on = {COUNTED_ON!r}, not {on!r}")
    if subject in SCORES and (found.kind == PlaceKind.TFLM or found.kernels is not None):
        raise ValueError(
            f"there is no {subject} on {on}: on this machine it is scored on the target's own kernels; leave `on` out"
        )
    if found.emulates and subject not in (Subject.INSTRUCTIONS, *SCORES):
        raise ValueError(f"there is no {subject} on {on}: an emulated core only counts; limit instructions there")
    return found.label


def _problem(budget: Budget, metric: Metric) -> str:
    """Why a limit always or never holds, and what to write; empty where it depends on the artifact.

    Args:
        budget: as it was read; of a score whose metric is not settled yet, as far as its unit tells.
        metric: that scores, settled or as asked for.
    """
    if budget.confidence and (metric.is_open or metric.name in _NO_MEANS):
        return f"{metric.label} is no mean over samples, and its drop has no interval: leave `confidence` out"
    if budget.of_baseline:
        return ""  # the parser knows the changes that leave nothing
    if budget.subject in SCORES:
        return _of_score(budget, metric)
    if budget.subject == Subject.NPU_SHARE:
        return _of_share(budget)
    if budget.limit <= 0:
        return "no artifact takes nothing at all: write a limit over 0"
    return _of_headroom(budget)


def _of_score(budget: Budget, metric: Metric) -> str:
    if budget.subject == Subject.ACCURACY_DROP:
        # Until labels choose the metric, a percentage may be one of the float network's error, which has no end.
        if metric.is_share and budget.limit >= 1:
            return "no accuracy falls by more than 100 %: write a smaller limit, or off"
        return _of_headroom(budget)
    if budget.unit == Unit.SHARE and not metric.is_open:
        return _of_share(budget)
    if metric.less_is_more and not metric.is_open and budget.limit < 0:
        return f"{metric.label} is never less than 0: write a limit over 0"
    if metric.name == MetricKind.R2 and budget.limit > 1:
        return f"{metric.label} is never more than 1: write a limit up to 1"
    return _of_headroom(budget) if metric.less_is_more else ""


def _of_share(budget: Budget) -> str:
    """Of a share that is to be at least so much."""
    if budget.limit > 1:
        return f"{format_share(budget.limit)} is more than all of it: write a percentage up to 100 %"
    if budget.limit <= 0:
        return f"at least {format_share(0)} is always kept: write a percentage over 0 %, or off"
    least = budget.limit * (1 + budget.headroom)
    if least > 1 + _LAST_BITS:
        return (
            f"a headroom of {format_share(budget.headroom)} beside at least {format_share(budget.limit)} takes "
            f"{format_share(least)}, more than all of it: write one up to {format_share(1 / budget.limit - 1)}"
        )
    return ""


def _of_headroom(budget: Budget) -> str:
    if budget.headroom >= 1 and budget.limit > 0:
        return "a headroom of 100 % leaves nothing of the limit: write a smaller one"
    return ""
