"""What of this machine edgebuild can use, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgebuild.core.facility import Facility
from edgebuild.report.tables import clean

_LONGEST = 100


def of_facilities(found: Sequence[Facility], paint: Callable[[str, str], str]) -> str:
    """A line for each, and under it what makes it usable where it is not."""
    width = max(len(facility.name) for facility in found)
    return "\n".join(line for facility in found for line in _lines(facility, width, paint))


def _lines(facility: Facility, width: int, paint: Callable[[str, str], str]) -> list[str]:
    mark = paint("there  ", "pass") if facility.is_there else paint("missing", "warn")
    lines = [
        f"{mark}  {facility.name:<{width}}  {clean(facility.detail, _LONGEST)} {paint(f'({facility.use})', 'dim')}"
    ]
    if facility.remedy:
        lines.append(f"{' ' * (len('missing') + 2 + width + 2)}{facility.remedy}")
    return lines
