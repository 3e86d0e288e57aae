"""What was measured, in a few lines, and where an inference spends its time."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.core.benched import Benched, OperatorTime, OperatorTimes
from edgebuild.report import places, summary
from edgebuild.report.tables import aligned, clean
from edgebuild.units import format_seconds, format_share

_HEAD = ("#", "operator", "output", "MACs", "time", "from", "to", "share", "kernel")
_RIGHT = (0, 3, 4, 5, 6, 7)
_KIND_RIGHT = (1, 2, 3)


def of_artifact(item: Benched, paint: summary.Paint = summary.plain, *, verbose: bool = False) -> str:
    """An artifact with its figures, how it stands to its baseline, and its budgets; `verbose` as for builds."""
    lines = [paint(item.artifact, "title")]
    hides_host = item.has_costs_of_its_own and not verbose
    figures = places.shown(item.measurements, hides_host=hides_host)
    lines += [summary.row(label, text) for label, text in places.rows(figures)]
    lines += [summary.row(label, text) for label, text in places.hidden(item.measurements, hides_host=hides_host)]
    peaks = ", ".join(places.peaks(figures))
    lines += [summary.row("memory", peaks)] if peaks else []
    if item.comparison is not None:
        lines += [summary.row(label, text) for label, text in places.comparison(item.comparison)]
    lines += summary.checks(item.verdict, paint, lower_is_better=item.lower_is_better)
    lines += [summary.row("note", paint(note, "dim")) for note in places.notes(item.notes, hides_host=hides_host)]
    lines += ["", of_operators(item.operators)] if item.operators is not None else []
    return "\n".join(lines)


def of_operators(times: OperatorTimes, *, in_order: bool = False) -> str:
    """A table of all operators, the longest first or in the order of execution, then the sums by kind.

    The share is of what all operators take together.
    """
    ordered = times.operators if in_order else sorted(times.operators, key=lambda each: -each.time_s)
    rows = [_row(operator, times.sum_s) for operator in ordered]
    # A column that says nothing is left out.
    kept = len(_HEAD) if any(operator.kernel for operator in ordered) else len(_HEAD) - 1
    lines = [_headline(times), *aligned([_HEAD[:kept], *(row[:kept] for row in rows)], _RIGHT), ""]
    lines += ["by kind", *_kinds(times)]
    lines += [f"  note  {clean(note, 200)}" for note in times.notes]
    return "\n".join(lines)


def _headline(times: OperatorTimes) -> str:
    threads = f"{times.threads} thread{'s' if times.threads > 1 else ''}"
    return (
        f"operators: {format_seconds(times.sum_s)} of {format_seconds(times.whole_s)}, beside them "
        f"{format_seconds(times.beside_s)} ({times.kernels} kernels, {threads}, {times.mode}: {times.source})"
    )


def _row(operator: OperatorTime, sum_s: float) -> tuple[str, ...]:
    low_s, high_s = operator.interval_s
    return (
        _span(operator.positions),
        _named(operator),
        f"{operator.dtype} {'x'.join('?' if size < 0 else str(size) for size in operator.shape)}".strip(),
        f"{operator.macs:,}" if operator.macs else "-",
        format_seconds(operator.time_s),
        format_seconds(low_s),
        format_seconds(high_s),
        _share(operator.time_s, sum_s),
        clean(operator.kernel, 60),
    )


def _span(positions: tuple[int, ...]) -> str:
    if not positions:
        return "-"
    return str(positions[0]) if len(positions) == 1 else f"{positions[0]}..{positions[-1]}"


def _named(operator: OperatorTime) -> str:
    """An operator's name; of several "PAD + CONV_2D", of many the first."""
    if not operator.names:
        return "none of the file's"
    shown = [clean(name, 40) for name in operator.names[:3]]
    more = len(operator.names) - len(shown)
    return " + ".join(shown) + (f" + {more} more" if more else "")


def _kinds(times: OperatorTimes) -> Iterator[str]:
    """What operators of one kind take together; those timed together are a kind of their own."""
    sums: dict[str, tuple[int, float]] = {}
    for operator in times.operators:
        kind = _named(operator)
        count, sum_s = sums.get(kind, (0, 0.0))
        sums[kind] = (count + 1, sum_s + operator.time_s)
    ordered = sorted(sums.items(), key=lambda item: -item[1][1])
    rows = [(kind, f"{count:,}", format_seconds(sum_s), _share(sum_s, times.sum_s)) for kind, (count, sum_s) in ordered]
    yield from aligned(rows, _KIND_RIGHT)


def _share(part_s: float, sum_s: float) -> str:
    return format_share(part_s / sum_s) if sum_s else "-"
