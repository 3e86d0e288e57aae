"""The summary of several builds: a line for each model and target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgebuild.core.budget import Subject
from edgebuild.core.manifest import Manifest
from edgebuild.core.verdict import Status, Verdict
from edgebuild.report import places, wording
from edgebuild.report.summary import Paint

_HEADS = ("model", "target", "artifact", "size", "accuracy", "latency", "verdict")


class Line(NamedTuple):
    """What there is to say of a model and a target; no manifest where it failed."""

    name: str
    target: str
    out: str
    manifest: Manifest | None


def table(lines: Sequence[Line], paint: Paint) -> str:
    """The lines below their heads."""
    rows = [_HEADS, *map(_cells, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    texts = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    ends = ["", *(str(line.manifest.verdict.status) if line.manifest else "fail" for line in lines)]
    shown = []
    for text, end, row in zip(texts, ends, rows, strict=True):
        start = len(text) - widths[-1]
        shown.append(f"{text[:start]}{paint(row[-1], end)}" if end else text.rstrip())
    return "\n".join(shown)


def actions(lines: Sequence[Line]) -> list[str]:
    """What needs something to be done: checks that are not kept, requirements, and warnings about the data."""
    found: dict[str, None] = {}
    for line in lines:
        if line.manifest is not None:
            where = f"{line.name}, {line.target}"
            found |= dict.fromkeys(f"{where}: {text}" for text in _unkept(line.manifest.verdict, line.manifest))
            found |= dict.fromkeys(f"{line.name}: {each.what}. {each.remedy}" for each in line.manifest.findings)
    return list(found)


def _unkept(verdict: Verdict, manifest: Manifest) -> list[str]:
    texts = []
    for check in verdict.checks:
        if check.status == Status.PASS:
            continue
        limit = wording.limit(check.budget, lower_is_better=manifest.plan.metric.less_is_more)
        value = check.reason if check.value is None else wording.found(check.value, check.budget)
        texts.append(f"{check.status}: {wording.name(check.budget)} {value}, {limit}")
    texts += [f"{each.status}: {each.what}: {each.reason}" for each in verdict.requirements if each.reason]
    return texts


def _cells(line: Line) -> tuple[str, ...]:
    manifest = line.manifest
    if manifest is None:
        return (line.name, line.target, "none", "-", "-", "-", "failed")
    score = "-"
    if manifest.accuracy is not None:
        unit = manifest.accuracy.unit
        score = " -> ".join(wording.figure(v, unit) for v in (manifest.accuracy.baseline, manifest.accuracy.artifact))
    artifact = manifest.artifact
    return (
        line.name,
        line.target,
        f"{line.out}/{line.target}/{artifact.path}",
        f"{artifact.size_bytes:,} bytes",
        score,
        _latency(manifest),
        str(manifest.verdict.status),
    )


def _latency(manifest: Manifest) -> str:
    """The target's own; this host's only where the target has no costs of its own, and labelled so."""
    shown = places.shown(manifest.measurements, hides_host=manifest.plan.has_costs_of_its_own)
    times = [each for each in shown if each.subject == Subject.LATENCY]
    if not times:
        return "-"
    found = times[0]
    return f"{wording.figure(found.value, found.unit)} ({wording.place(found.where)}, {found.mode})"
