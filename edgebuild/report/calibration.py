"""A calibration, for people."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.core.calibration import Calibration
from edgebuild.report.tables import aligned, clean
from edgebuild.units import format_seconds, format_share

_HEAD = ("network", "instructions", "time", "from", "to", "from the others")
_RIGHT = (1, 2, 3, 4, 5)


def of_calibration(
    calibration: Calibration, intercept_s: float, slope_s: float, spread: float, left_out: tuple[float, ...]
) -> str:
    """What was measured, the line through it, and what it holds for.

    Args:
        calibration: what was measured.
        intercept_s: seconds that every inference takes.
        slope_s: seconds an instruction takes.
        spread: the standard deviation of the relative residuals.
        left_out: how far each network lies from what the others foresee, as a share of its time.
    """
    where = f"{clean(calibration.place)} ({clean(calibration.machine)})"
    return "\n".join(
        [
            f"{calibration.name}: arm64:{calibration.core} on {where}",
            f"  time      {format_seconds(intercept_s)} + {slope_s * 1e12:.3g} ps an instruction, "
            f"relative residuals of {format_share(spread)}",
            *_scope(calibration),
            "",
            *aligned([_HEAD, *_rows(calibration, left_out)], _RIGHT),
        ]
    )


def _scope(calibration: Calibration) -> Iterator[str]:
    family = calibration.family
    kernels = f"{calibration.kernels} kernels of LiteRT {calibration.litert}, 1 thread"
    yield f"  holds for {', '.join(family.types)}; {kernels}"
    yield f"            {', '.join(map(clean, family.operators))}"
    if not calibration.device_litert:
        yield "  note      which version of LiteRT the device runs is not known"


def _rows(calibration: Calibration, left_out: tuple[float, ...]) -> Iterator[tuple[str, ...]]:
    for point, error in zip(calibration.points, left_out, strict=True):
        low_s, high_s = point.interval_s
        yield (
            clean(point.name),
            f"{point.instructions:,.0f}",
            format_seconds(point.time_s),
            format_seconds(low_s),
            format_seconds(high_s),
            f"{error * 100:+.1f} %",
        )
