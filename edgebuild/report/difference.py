"""Two artifacts side by side, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgebuild.core.difference import Difference, FigureChange, LayerChange, NumberChange
from edgebuild.report import wording
from edgebuild.report.summary import Paint, plain
from edgebuild.report.tables import aligned, clean

_TITLES = {"size_bytes": "size", "macs": "MACs", "activations_bytes": "activations (estimated)"}


def of_artifacts(difference: Difference, paint: Paint = plain) -> str:
    """What differs between two artifacts: totals, sections, operators, figures."""
    lines = [f"{paint(clean(difference.before), 'title')} -> {paint(clean(difference.after), 'title')}"]
    lines += _numbers(difference.totals, paint)
    lines += _block("bytes by what they are for", [change for change in difference.sections if change.by], paint)
    lines += _block("operators", difference.operators, paint)
    lines += _layers(difference, paint)
    if difference.figures:
        lines += ["", paint("figures", "title")]
        lines += aligned([_figure(figure) for figure in difference.figures], right=(1, 3))
    lines += [paint(f"  {note}", "dim") for note in difference.notes]
    return "\n".join(lines)


def _block(title: str, changes: Sequence[NumberChange], paint: Paint) -> Iterator[str]:
    if changes:
        yield from ("", paint(title, "title"))
        yield from _numbers(changes, paint)


def _numbers(changes: Sequence[NumberChange], paint: Paint) -> Iterator[str]:
    rows = [
        (_TITLES.get(change.name, change.name), f"{change.before:,}", "->", f"{change.after:,}", _by(change))
        for change in changes
    ]
    for change, line in zip(changes, aligned(rows, right=(1, 3)), strict=True):
        yield line if change.by else paint(line, "dim")


def _by(change: NumberChange) -> str:
    if not change.by:
        return "as before"
    share = f" ({change.by / change.before:+.1%})" if change.before else ""
    return f"{change.by:+,}{share}"


def _layers(difference: Difference, paint: Paint) -> Iterator[str]:
    yield from ("", f"{paint('layers', 'title')}: {difference.same_layers:,} as before, {len(difference.layers):,} not")
    if difference.layers:
        yield from aligned([_layer(layer) for layer in difference.layers])


def _layer(layer: LayerChange) -> tuple[str, str, str, str]:
    if layer.before < 0:
        what, places = "added", f"{layer.after}"
    elif layer.after < 0:
        what, places = "removed", f"{layer.before}"
    else:
        what, places = (
            "changed",
            f"{layer.before} -> {layer.after}" if layer.before != layer.after else f"{layer.after}",
        )
    said = [
        f"{title} {change.before:,} -> {change.after:,}"
        for title, change in (("constants", layer.constants_bytes), ("MACs", layer.macs))
        if change.by
    ]
    called = f"{clean(layer.operator)} {clean(layer.name, 40)}".rstrip()
    return what, places, called, ", ".join([*map(clean, layer.changes), *said])


def _figure(figure: FigureChange) -> tuple[str, str, str, str, str]:
    before, after = (wording.figure(value, figure.unit, figure.subject) for value in (figure.before, figure.after))
    note = f"; {figure.note}" if figure.note else ""
    return str(figure.subject), before, "->", after, f"({figure.mode} on {figure.where}{note})"
