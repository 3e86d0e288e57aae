"""Measurements for the tests of calibration: figures that follow from a file's size, on a device or emulated."""

from __future__ import annotations

from pathlib import Path

from edgebuild.actions.measuring import Measured, MeasureJob, Timing
from edgebuild.core.budget import Subject

INTERCEPT_S, SLOPE_S = 20e-6, 0.3e-9
INSTRUCTIONS_A_BYTE = 1000


def measured(job: MeasureJob, _: Path) -> Measured:
    """What a board would answer."""
    assert job.bench.threads == 1
    assert not job.bench.baseline
    count = float(INSTRUCTIONS_A_BYTE * Path(job.artifact).stat().st_size)
    value = count if job.place.emulates else INTERCEPT_S + SLOPE_S * count
    return Measured(
        artifact=Timing(
            subject=Subject.INSTRUCTIONS if job.place.emulates else Subject.LATENCY,
            machine="aarch64, a board, 4 cores",
            kernels=job.kernels,
            versions={"ai-edge-litert": "2.3.0"},
            blocks=((value,),),
            processes=(1,),
            statistics={"median": value},
            intervals={"median": (value, value)},
        )
    )
