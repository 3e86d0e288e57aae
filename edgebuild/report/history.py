"""The history of an artifact: how its size, score, instructions and latency moved from commit to commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from edgebuild.core.budget import Subject, Unit
from edgebuild.core.measurement import Mode
from edgebuild.core.record import Record, RecordedFigure
from edgebuild.report import wording
from edgebuild.report.summary import Paint, plain
from edgebuild.report.tables import aligned, clean
from edgebuild.units import format_bytes, format_change, format_share

_SHOWN = (Subject.SIZE, Subject.ACCURACY, Subject.INSTRUCTIONS, Subject.LATENCY)
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=*#"
_MOST_TICKS = 32
_COMMIT_DIGITS = 8
_UNCERTAIN = "~"


class _Column(NamedTuple):
    """What figures must have in common to stand below each other."""

    subject: Subject
    unit: Unit
    mode: Mode
    where: str
    machine: str
    kernels: str
    threads: int
    metric: str
    evaluation_sha256: str


class _Row(NamedTuple):
    """What was measured of one file at one commit, the last where it was measured several times."""

    time: str
    commit: str
    dirty: bool | None
    figures: Mapping[_Column, RecordedFigure]


def trend(records: Sequence[Record], *, last: int, on: str = "", paint: Paint = plain, ascii_only: bool = False) -> str:
    """A table for each target, a row for each commit and file, the newest last.

    Figures of different places, machines, kernels, threads or evaluation data never stand in one column. Each has its
    change against the row before that has one; of two latencies whose intervals overlap none is told.

    Args:
        records: of one artifact, the oldest first.
        last: at most so many rows.
        on: the place whose figures are shown, beside those of the file; empty for all.
        paint: styles a text.
        ascii_only: whether the sparklines must do without block characters.
    """
    targets = dict.fromkeys(record.target for record in records)
    tables = []
    for target in targets:
        rows = list(_rows([record for record in records if record.target == target], on))
        title = paint(clean(records[0].name), "title") + (f", target {clean(target)}" if target else "")
        tables.append("\n".join([title, *_table(rows, last, paint, _ASCII if ascii_only else _BLOCKS)]))
    return "\n\n".join(tables)


def _rows(records: Sequence[Record], on: str) -> Iterator[_Row]:
    for _, group in groupby(records, lambda record: (record.commit, record.dirty, record.sha256)):
        same = list(group)
        figures = {
            _column(record, figure): figure
            for record in same
            for figure in record.figures
            if figure.subject in _SHOWN and (not on or figure.subject == Subject.SIZE or figure.where == on)
        }
        yield _Row(same[-1].time, same[-1].commit, same[-1].dirty, figures)


def _column(record: Record, figure: RecordedFigure) -> _Column:
    is_score = figure.subject == Subject.ACCURACY
    return _Column(
        figure.subject,
        figure.unit,
        figure.mode,
        figure.where,
        # A score is of kernels and data; which machine ran them does not matter.
        "" if is_score else figure.machine,
        figure.kernels,
        1 if is_score else figure.threads,
        record.metric if is_score else "",
        record.evaluation_sha256 if is_score else "",
    )


def _table(rows: Sequence[_Row], last: int, paint: Paint, ticks: str) -> Iterator[str]:
    shown = rows[-last:]
    found = dict.fromkeys(column for row in shown for column in row.figures)
    columns = sorted(found, key=lambda column: _SHOWN.index(column.subject))
    notes = [column for column in columns if column.subject != Subject.SIZE]
    heads = [_head(column, notes.index(column) + 1 if column in notes else 0) for column in columns]
    lines = [["commit", "measured (UTC)", *(cell for head in heads for cell in (head, ""))]]
    before: dict[_Column, RecordedFigure] = {}
    cells = []
    for row in rows:
        cells.append([_commit(row), row.time[:16].replace("T", " "), *_cells(row, columns, before)])
        before |= row.figures
    lines += cells[-last:]
    if len(shown) > 1:
        drawn = (_sparkline([row.figures.get(column) for row in shown], ticks) for column in columns)
        lines.append(["", "", *(cell for line in drawn for cell in (line, ""))])
    yield from aligned(lines, right=[2 + 2 * number for number in range(len(columns))])
    for number, column in enumerate(notes, 1):
        yield paint(f"  [{number}] {_describe(column)}", "dim")
    yield from (paint(f"  {line}", "dim") for line in _legend(shown, lines, ticks))


def _head(column: _Column, number: int) -> str:
    name = column.metric or column.subject if column.subject == Subject.ACCURACY else column.subject
    return f"{clean(name)} [{number}]" if number else clean(name)


def _commit(row: _Row) -> str:
    return (row.commit[:_COMMIT_DIGITS] or "-") + ("+" if row.dirty else "")


def _cells(row: _Row, columns: Sequence[_Column], before: Mapping[_Column, RecordedFigure]) -> Iterator[str]:
    for column in columns:
        figure, earlier = row.figures.get(column), before.get(column)
        yield wording.figure(figure.value, figure.unit) if figure is not None else ""
        yield _change(earlier, figure) if figure is not None and earlier is not None else ""


def _change(before: RecordedFigure, after: RecordedFigure) -> str:
    """How a figure moved, in what people count it in; nothing is said of noise."""
    difference = after.value - before.value
    if after.subject == Subject.LATENCY and not _is_clear(before, after):
        return _UNCERTAIN
    if not difference:
        return "="
    sign = "+" if difference > 0 else "-"
    if after.unit == Unit.BYTES:
        return sign + format_bytes(abs(difference))
    if after.unit == Unit.SHARE:
        return sign + format_share(abs(difference)).replace("%", "points")
    return format_change(difference / abs(before.value)) if before.value else f"{sign}{abs(difference):.3g}"


def _is_clear(before: RecordedFigure, after: RecordedFigure) -> bool:
    """Whether both have intervals, and these lie apart."""
    if before.interval is None or after.interval is None:
        return False
    return before.interval[1] < after.interval[0] or after.interval[1] < before.interval[0]


def _sparkline(figures: Sequence[RecordedFigure | None], ticks: str) -> str:
    """The last figures of a column drawn between their lowest and highest; a gap where a row has none."""
    drawn = figures[-_MOST_TICKS:]
    values = [figure.value for figure in drawn if figure is not None]
    if len(values) < 2:
        return ""
    low, span = min(values), max(values) - min(values)
    steps = len(ticks) - 1
    return "".join(
        " " if figure is None else ticks[round((figure.value - low) / span * steps) if span else steps // 2]
        for figure in drawn
    )


def _describe(column: _Column) -> str:
    kernels = f"{column.kernels} kernels" if column.kernels else ""
    threads = f"{column.threads} threads" if column.threads > 1 else ""
    data = f"evaluation data {column.evaluation_sha256[:_COMMIT_DIGITS]}" if column.evaluation_sha256 else ""
    parts = (column.machine, kernels, threads, data, str(column.mode))
    return f"{clean(column.where)}: {clean(', '.join(filter(None, parts)), 200)}"


def _legend(rows: Sequence[_Row], lines: Sequence[Sequence[str]], ticks: str) -> Iterator[str]:
    if any(row.dirty for row in rows):
        yield "+ tracked files differed from the commit"
    if any(_UNCERTAIN in line for line in lines):
        yield f"{_UNCERTAIN} no change that could be told: measured at different times, and the intervals overlap"
    if len(rows) > 1:
        yield f"last line: from the lowest ({ticks[0]}) to the highest ({ticks[-1]}) of each column, not from zero"
