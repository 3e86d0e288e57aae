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
COUNT: Mapping[str, float] = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
JOULES: Mapping[str, float] = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1}

# A comma may only group thousands: "1,5 MB" could be meant as one and a half.
_QUANTITY = re.compile(r"\s*([+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d[\d_]*)\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d,.]*)\s*")

# A sign tells a change from a share: "5 % of baseline" could be meant as a twentieth of it.
_CHANGE = re.compile(r"\s*([+-]\s*[\d.][^%]*%)\s*(?:of\s+(?:the\s+)?baseline)?\s*")


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


def parse_count(text: object) -> int:
    """A whole number of things such as "6.6 M", "6,600,000" or 6600000; raises UnitError."""
    value = _parse(text, COUNT, "a count", "6.6 M, 500 k or 6,600,000")
    if value < 1 and value != 0:
        raise UnitError(f"{text!r} is less than one: write a count like 6.6 M, 500 k or 6,600,000")
    return round(value)


def parse_joules(text: object) -> float:
    """Joules of an energy such as "3 mJ"; raises UnitError."""
    return _parse(text, JOULES, "an energy", "3 mJ or 150 uJ")


def is_change(text: object) -> bool:
    """Whether a text is meant as a change: it names a baseline, or is a percentage with a sign."""
    return isinstance(text, str) and ("baseline" in text or _CHANGE.fullmatch(text) is not None)


def parse_change(text: object) -> float:
    """The change that a text such as "+5 % of baseline" or "-10 %" stands for, as a share: 0.05; raises UnitError."""
    match = _CHANGE.fullmatch(str(text))
    if match is None:
        raise UnitError(f"{text!r} is not a change: write it with its sign, like +5 % of baseline or -10 %")
    sign, size = match[1][0], match[1][1:]
    change = parse_share(size)
    if sign == "-" and change >= 1:
        raise UnitError(f"{text!r} leaves nothing of the baseline")
    return -change if sign == "-" else change


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
    if not unit and "" not in units:
        raise UnitError(f"{text!r} has no unit: write {kind} like {example}")
    factor = units.get(unit.upper() if fold else unit)
    if factor is None:
        raise UnitError(f"{text!r}: {unit!r} is no unit of {kind}: write it like {example}")
    value = float(number.replace("_", "").replace(",", "")) * factor
    if value < 0 or value == float("inf"):
        raise UnitError(f"{text!r} is out of range: {kind} is zero or more")
    return value


def is_binary(text: object) -> bool:
    """Whether a size is written with a binary prefix: KiB, MiB or GiB."""
    return str(text).strip().upper().endswith("IB")


def format_bytes(size_bytes: float, *, binary: bool = False) -> str:
    """Exact below 10,000 bytes, else with a prefix and three figures: "48.5 KB", with a binary one "47.4 KiB".

    A whole number of KiB is shown as that, as it was written: "60 KiB".
    """
    if binary and size_bytes >= BYTES["KIB"]:
        return _binary(size_bytes)
    if size_bytes < 10_000:
        return f"{size_bytes:,.0f} B"
    unit = next((unit for unit in ("KB", "MB") if size_bytes < 999.5 * BYTES[unit]), "GB")
    value = size_bytes / BYTES[unit]
    return f"{value:#.3g}".rstrip(".") + f" {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def _binary(size_bytes: float) -> str:
    prefix = next((prefix for prefix in ("G", "M") if size_bytes >= BYTES[f"{prefix}IB"]), "K")
    value = size_bytes / BYTES[f"{prefix}IB"]
    text = f"{value:.0f}" if value == int(value) or value >= 999.5 else f"{value:#.3g}".rstrip(".")
    return f"{text} {prefix}iB"


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


def format_count(number: float) -> str:
    """Exact below 10,000, else with a decimal prefix and four figures: "6.561 M"."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= max(0.99995 * factor, 9_999.5):
            return f"{number / factor:.4g} {prefix}"
    return f"{number:,.0f}"


def format_joules(energy_j: float) -> str:
    """Three significant figures in the unit that fits: "150 uJ", "3.2 mJ", "1.5 J"."""
    for factor, unit in ((1, "J"), (1e-3, "mJ")):
        if energy_j >= 0.9995 * factor:
            return f"{energy_j / factor:.3g} {unit}"
    return f"{energy_j * 1e6:.3g} uJ"


def format_change(change: float) -> str:
    """A share with its sign, as a percentage with up to two decimals: "+5.0 %", "-0.25 %"."""
    text = format_share(change)
    return text if text.startswith("-") else f"+{text}"
