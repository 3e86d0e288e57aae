"""Plans, profiles and the origins of settings, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from edgebuild.core.budget import SCORES
from edgebuild.core.outlook import DataOutline, Outlook
from edgebuild.core.plan import Plan, Source
from edgebuild.core.target import Target
from edgebuild.layering import Layered, flatten
from edgebuild.report import wording
from edgebuild.report.tables import clean
from edgebuild.units import format_seconds

_WIDEST_VALUE = 60


class Resolved(Protocol):
    """A target with its merged values, as `edgebuild.targets` gives it."""

    @property
    def target(self) -> Target:
        """The profile as it was read."""

    @property
    def layered(self) -> Layered:
        """Its values and where each came from."""


class _Row(NamedTuple):
    path: str
    value: str
    origin: str


def of_plan(plan: Plan, outlook: Outlook | None = None) -> str:
    """What would be done for one target, a line a step, and what a build would find and take."""
    lines = [f"{plan.target}: {plan.name}.tflite"]
    lines.append(f"  network    {_source(plan.model)}")
    lines.append(f"  data       {_source(plan.data) if plan.data else 'none'}")
    lines += [f"             {text}" for text in _outline(outlook.data)] if outlook and outlook.data else []
    lines += [f"  pass       {wording.step(step)}" for step in plan.passes]
    lines.append(f"  measure    {plan.metric.label}, latency and memory on this host, {plan.runtime.kernels} kernels")
    for budget in plan.budgets:
        limit = wording.limit(budget, lower_is_better=plan.metric.less_is_more)
        lines.append(f"  budget     {wording.name(budget)} {limit} ({budget.level}; {budget.origin})")
        if outlook is not None and outlook.unscored and budget.subject in SCORES:
            lines.append(f"             will be inconclusive: {outlook.unscored}")
    lines += [f"  time       {_expected(outlook)}"] if outlook is not None else []
    return "\n".join(lines)


def _outline(data: DataOutline) -> Iterator[str]:
    """Arrays with their shapes, and how many samples each split would have."""
    for array in data.arrays:
        yield f"{clean(array.name)}: {' x '.join(map(str, array.shape)) or 'scalar'}, {array.dtype}"
    counts = ", ".join(f"{count:,} {split}" for split, count in data.samples.items() if count)
    classes = f" of {data.classes} classes" if data.classes else ""
    if counts:
        yield f"samples: {counts}{classes}"
    if data.note:
        yield data.note


def _expected(outlook: Outlook) -> str:
    total = sum(outlook.stages.values())
    stages = ", ".join(f"{stage} {format_seconds(time_s)}" for stage, time_s in outlook.stages.items())
    training = f", and at most {format_seconds(outlook.training)} of training" if outlook.training else ""
    return f"about {format_seconds(total)} ({stages}){training}; {outlook.basis}"


def explain(settings: Layered, targets: Sequence[Resolved]) -> str:
    """Every setting with its value and where it came from; then the same of each target."""
    parts = [_table(_rows(settings, skip=("targets", "budgets", "sources")))]
    parts += [f"target {item.target.name}\n{_table(_rows(item.layered, skip=('sources',)))}" for item in targets]
    return "\n\n".join(parts)


def of_profiles(targets: Sequence[Target]) -> str:
    """A line a profile."""
    width = max(len(target.name) for target in targets)
    return "\n".join(f"{target.name:<{width}}  {target.description}" for target in targets)


def of_profile(resolved: Resolved) -> str:
    """All of one profile: values, the file each came from, and the sources of its figures."""
    target = resolved.target
    parts = [f"{target.name}: {target.description}", _table(_rows(resolved.layered, skip=("sources", "description")))]
    if target.sources:
        sources = "\n".join(f"  {path}: {' '.join(text.split())}" for path, text in target.sources.items())
        parts.append(f"sources\n{sources}")
    return "\n\n".join(parts)


def _rows(layered: Layered, skip: tuple[str, ...]) -> list[_Row]:
    leaves = flatten({key: value for key, value in layered.values.items() if key not in skip})
    return [_Row(path, _value(value), layered.origin_of(path)) for path, value in leaves.items()]


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if len(text) > _WIDEST_VALUE and isinstance(value, list | tuple):
        return f"{len(value)} entries: {text[: _WIDEST_VALUE - 15]}..."
    return text or "-"


def _table(rows: Sequence[_Row]) -> str:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    return "\n".join(f"  {row.path:<{widths[0]}}  {row.value:<{widths[1]}}  {row.origin}" for row in rows)


def _source(source: Source) -> str:
    digest = f", sha256 {source.sha256[:12]}..." if source.sha256 else ""
    kind = f"{source.kind} with {source.plugin.label}" if source.plugin is not None else source.kind
    return f"{source.path} ({kind}{digest})"
