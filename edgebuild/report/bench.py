"""What was timed, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from edgebuild.core.budget import Subject
from edgebuild.core.measurement import Measurement
from edgebuild.report import wording
from edgebuild.units import format_bytes


def of_artifact(name: str, measurements: Sequence[Measurement]) -> str:
    """An artifact with its latency and memory."""
    figures = {measurement.subject: measurement for measurement in measurements}
    latency = wording.latency(figures[Subject.LATENCY])
    peak = format_bytes(figures[Subject.PEAK_MEMORY].value)
    return f"{name}\n  latency  {latency}\n  memory   {peak} peak on this host (measured)"
