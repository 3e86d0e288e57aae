"""What was measured, in a few lines."""

from __future__ import annotations

from edgebuild.core.benched import Benched
from edgebuild.report import operators, places, summary


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
    lines += ["", operators.of_operators(item.operators)] if item.operators is not None else []
    return "\n".join(lines)
