"""Budgets as they are written in TOML and on the command line, read into `Budget`."""

from __future__ import annotations

from collections.abc import Mapping

from edgebuild.core.budget import Budget, Level, Subject, Unit
from edgebuild.core.settings import Metric
from edgebuild.decode import closest
from edgebuild.errors import UsageError
from edgebuild.layering import Layered, Tree
from edgebuild.units import UnitError, parse_bytes, parse_number, parse_part, parse_seconds, parse_share

OFF = "off"
HOST = "host"
_KEYS = ("limit", "level", "headroom", "on")
_PARSERS = {
    Unit.BYTES: parse_bytes,
    Unit.SECONDS: parse_seconds,
    Unit.SHARE: parse_share,
    Unit.RELATIVE: parse_share,
    Unit.NUMBER: parse_number,
}
_METRIC_SUBJECTS = (Subject.ACCURACY, Subject.ACCURACY_DROP)
_PLACE_SUBJECTS = (Subject.LATENCY, Subject.PEAK_MEMORY)


def read(layered: Layered, metric: Metric) -> tuple[Budget, ...]:
    """All budgets of a `[budgets]` table whose layers have been merged; subjects set to "off" are left out.

    Raises:
        UsageError: an unknown subject or key, or a limit that does not fit its subject; all of them in one message.
    """
    budgets: list[Budget] = []
    problems: list[str] = []
    for name, written in layered.values.items():
        origin = layered.origin_of(name)
        try:
            if written != OFF and written is not False:  # 0 equals False, and is a limit
                budgets.append(_budget(name, written, origin, metric))
        except (UnitError, ValueError) as error:
            problems.append(f"{name}: {error}" + (f" ({origin})" if origin else ""))
    if problems:
        raise UsageError("a budget cannot be read", "\n".join(problems))
    return tuple(sorted(budgets, key=lambda budget: list(Subject).index(budget.subject)))


def from_option(text: str) -> Tree:
    """The table that an option such as "size=60KB" or "latency=5ms,on=host,level=warn" stands for.

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
            remedy="Write NAME=LIMIT[,level=warn][,headroom=10%][,on=host], for example --budget size=60KB.",
        )
    # Without further keys it is the limit alone, which takes the place of all that a profile says of the subject.
    return {name.strip(): fields["limit"] if len(fields) == 1 else {"level": str(Level.ERROR), **fields}}


def _budget(name: str, written: object, origin: str, metric: Metric) -> Budget:
    if name not in set(Subject):
        raise ValueError(f"no such budget{closest(name, Subject)} (there are: {', '.join(Subject)})")
    subject = Subject(name)
    fields = written if isinstance(written, Mapping) else {"limit": written}
    for key in fields:
        if key not in _KEYS:
            raise ValueError(f"{key} is not a key of a budget{closest(key, _KEYS)}")
    if "limit" not in fields:
        raise ValueError("has no limit")
    unit = _unit(subject, fields["limit"], metric)
    return Budget(
        subject=subject,
        limit=_PARSERS[unit](fields["limit"]),
        unit=unit,
        level=_level(fields.get("level", Level.ERROR)),
        headroom=parse_part(fields["headroom"]) if "headroom" in fields else 0.0,
        on=_place(subject, fields.get("on")),
        origin=origin,
    )


def _unit(subject: Subject, limit: object, metric: Metric) -> Unit:
    """A score's unit depends on the metric.

    Where the score is no share of one, a drop in % is relative to the float network's score; a callable's score may be
    limited in % all the same, since it may return a share.
    """
    if subject not in _METRIC_SUBJECTS or metric.is_share:
        return subject.unit
    if not str(limit).rstrip().endswith("%"):
        return Unit.NUMBER
    if subject == Subject.ACCURACY_DROP:
        return Unit.RELATIVE
    return Unit.SHARE if metric.is_callable else Unit.NUMBER


def _level(text: object) -> Level:
    if isinstance(text, str) and text in set(Level):
        return Level(text)
    raise ValueError(f"level {text!r} is unknown: write {' or '.join(Level)}")


def _place(subject: Subject, on: object) -> str | None:
    if subject in _PLACE_SUBJECTS:
        return HOST if on is None else str(on)
    if on is not None:
        raise ValueError(f"`on` has no meaning for {subject}: it is the same everywhere")
    return None
