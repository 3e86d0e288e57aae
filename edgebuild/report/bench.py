"""What was measured, in a few lines."""

from __future__ import annotations

from edgebuild.core.benched import Benched
from edgebuild.report import operators, places, summary


def of_artifact(item: Benched, paint: summary.Paint = summary.plain) -> str:
    """An artifact with its figures, how it stands to its baseline, and its budgets."""
    lines = [paint(item.artifact, "title")]
    lines += [summary.row(label, text) for label, text in places.rows(item.measurements)]
    peaks = ", ".join(places.peaks(item.measurements))
    lines += [summary.row("memory", peaks)] if peaks else []
    if item.comparison is not None:
        lines += [summary.row(label, text) for label, text in places.comparison(item.comparison)]
    # Accuracy, whose limit may be a minimum, is not measured here.
    lines += summary.checks(item.verdict, paint, lower_is_better=False) if item.verdict.checks else []
    lines += [summary.row("note", paint(note, "dim")) for note in item.notes]
    lines += ["", operators.of_operators(item.operators)] if item.operators is not None else []
    return "\n".join(lines)
