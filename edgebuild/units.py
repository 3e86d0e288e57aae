"""Quantities as people write them ("300 KB", "5 ms", "1 %") and as they are shown.

Inside the program sizes are whole bytes, times are seconds and shares are fractions of one. Decimal prefixes are
powers of 1000 and binary prefixes (KiB, MiB, GiB) powers of 1024, as in IEC 80000-13.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

BYTES: Mapping[str, float] = {
    "B": 1,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
SECONDS: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "m": 60, "h": 3600}
SHARE: Mapping[str, float] = {"%": 0.01}

# A comma may only group thousands: "1,5 MB" could be meant as one and a half.
_QUANTITY = re.compile(r"\s*([+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d[\d_]*)\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d,.]*)\s*")


class UnitError(ValueError):
    """A quantity that cannot be read; its text says why and shows how to write it."""


def parse_bytes(text: object) -> int:
    """Whole bytes of a size such as "300 KB" or "1 MiB"; raises UnitError."""
    return round(_parse(text, BYTES, "a size", "300 KB, 1 MiB or 512 B", fold=True))


def parse_seconds(text: object) -> float:
    """Seconds of a time such as "5 ms" or "10 min"; raises UnitError."""
    return _parse(text, SECONDS, "a time", "5 ms, 200 us or 10 min")


def parse_share(text: object) -> float:
    """The fraction of one that a percentage such as "1 %" stands for; raises UnitError."""
    return _parse(text, SHARE, "a percentage", "1 %")


def parse_part(text: object) -> float:
    """A percentage of something that is divided, at most 100 %; raises UnitError."""
    share = parse_share(text)
    if share > 1:
        raise UnitError(f"{text!r} is more than all of it: write a percentage up to 100 %")
    return share


def parse_some(text: object) -> float:
    """A percentage of something that is divided, over 0 % and at most 100 %; raises UnitError."""
    share = parse_part(text)
    if share == 0:
        raise UnitError(f"{text!r} leaves nothing: write a percentage over 0 %")
    return share


def parse_number(text: object) -> float:
    """A plain finite number, or a fraction such as "1/255"; raises UnitError."""
    parts = [text] if isinstance(text, int | float) and not isinstance(text, bool) else str(text).split("/")
    try:
        numbers = [float(part) for part in parts]
        number = numbers[0] if len(numbers) == 1 else numbers[0] / _only(numbers[1:])
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UnitError(f"{text!r} is not a number: write 0.5 or a fraction such as 1/255")
    return number


def _only(numbers: list[float]) -> float:
    (number,) = numbers
    return number


def _parse(text: object, units: Mapping[str, float], kind: str, example: str, *, fold: bool = False) -> float:
    match = _QUANTITY.fullmatch(str(text)) if not isinstance(text, bool) else None
    if match is None:
        raise UnitError(f"{text!r} is not {kind}: write it like {example}")
    number, unit = match.groups()
    if not unit:
        raise UnitError(f"{text!r} has no unit: write {kind} like {example}")
    factor = units.get(unit.upper() if fold else unit)
    if factor is None:
        raise UnitError(f"{text!r}: {unit!r} is no unit of {kind}: write it like {example}")
    value = float(number.replace("_", "").replace(",", "")) * factor
    if value < 0 or value == float("inf"):
        raise UnitError(f"{text!r} is out of range: {kind} is zero or more")
    return value


def format_bytes(size_bytes: float) -> str:
    """Exact below 10,000 bytes, else with a decimal prefix and three figures: "48.5 KB"."""
    if size_bytes < 10_000:
        return f"{size_bytes:,.0f} B"
    unit = next((unit for unit in ("KB", "MB") if size_bytes < 999.5 * BYTES[unit]), "GB")
    value = size_bytes / BYTES[unit]
    return f"{value:#.3g}".rstrip(".") + f" {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def format_seconds(time_s: float) -> str:
    """Three significant figures in the unit that fits: "7.17 us", "0.215 ms", "1.2 s"."""
    if time_s >= 59.95:
        minutes, seconds = divmod(round(time_s), 60)
        return f"{minutes} min {seconds} s"
    if time_s >= 0.9995:
        return f"{time_s:.1f} s"
    return f"{time_s * 1e3:.3g} ms" if time_s >= 1e-4 else f"{time_s * 1e6:.3g} us"


def format_share(share: float) -> str:
    """A percentage with up to two decimals: "91.4 %"."""
    text = f"{round(share * 100, 2) + 0.0:.2f}"  # adding zero takes the sign off a negative one
    return text[:-1] + " %" if text.endswith("0") else text + " %"
