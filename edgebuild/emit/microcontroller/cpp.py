"""Pieces of C++: identifiers, literals, arrays, and texts made of the files in `templates`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template

import numpy as np
import numpy.typing as npt

from edgebuild.emit.microcontroller.firmware import ALIGNMENT_BYTES, Firmware
from edgebuild.errors import StepError

# By element types of TFLite; int4 and the like are packed, strings and resources have no C++ type of their own.
_TYPES = {
    "int8": "std::int8_t",
    "uint8": "std::uint8_t",
    "int16": "std::int16_t",
    "uint16": "std::uint16_t",
    "int32": "std::int32_t",
    "uint32": "std::uint32_t",
    "int64": "std::int64_t",
    "uint64": "std::uint64_t",
    "float32": "float",
    "float64": "double",
    "bool": "bool",
}
_COLUMNS = 100
_HEX = [f"0x{value:02x}" for value in range(256)]
_HEX_PER_LINE = 16
_SPECIAL = {'"': '\\"', "\\": "\\\\", "?": "\\?"}  # "??/" would be a trigraph in older C++
_FOLDER = Path(__file__).parent / "templates"


def identifier(name: str) -> str:
    """A name as part of identifiers and file names: lower case, no two underscores side by side, no digit first.

    It is never used alone, so that it may be a keyword.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not plain:
        return "network"
    return f"n{plain}" if plain[0].isdigit() else plain


def type_of(dtype: str, tensor: str) -> str:
    """The C++ type of a tensor's elements.

    Raises:
        StepError: there is none.
    """
    if dtype not in _TYPES:
        raise StepError(f"{tensor} holds {dtype}, for which C++ has no type")
    return _TYPES[dtype]


def real(value: float) -> str:
    """A float literal that reads back as the same float32."""
    single = np.float32(value)
    if np.isnan(single):
        return "NAN"
    if np.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    return f"{single!s}f"


def string(text: str) -> str:
    """A string literal of UTF-8, in ASCII."""
    return '"' + "".join(_escaped(byte) for byte in text.encode()) + '"'


def values(array: npt.NDArray[np.generic]) -> str:
    """The elements of an initializer, in indented lines."""
    if array.dtype.kind == "b":
        return _lines("true" if value else "false" for value in array.tolist())
    if array.dtype == np.float32:
        return _lines(real(value) for value in array.tolist())
    if array.dtype == np.int64:
        # The literal of the smallest would be that of a larger type, negated.
        return _lines(f"INT64_C({value})" if value > -(2**63) else "INT64_MIN" for value in array.tolist())
    return _lines(str(value) for value in array.tolist())


def octets(data: bytes) -> str:
    """Bytes as elements of an initializer, in indented lines."""
    starts = range(0, len(data), _HEX_PER_LINE)
    return "\n".join(f"    {', '.join(_HEX[byte] for byte in data[at : at + _HEX_PER_LINE])}," for at in starts)


def _lines(literals: Iterable[str]) -> str:
    return "\n".join(_wrapped(literals))


def _wrapped(literals: Iterable[str]) -> Iterator[str]:
    line = "   "
    for literal in literals:
        if len(line) + len(literal) + 2 > _COLUMNS and line.strip():
            yield line
            line = "   "
        line += f" {literal},"
    yield line


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in _SPECIAL:
        return _SPECIAL[character]
    # Three octal digits end by themselves, hexadecimal ones go on as long as there are any.
    return character if 32 <= byte < 127 else f"\\{byte:03o}"


def filled(template: str, firmware: Firmware, **values: str) -> str:
    """A template with what all of them may name, and `values`."""
    name = identifier(firmware.name)
    common = {
        "id": name,
        "guard": name.upper(),
        # Quoted, so that no character of a name can end a comment or the line.
        "title": string(firmware.name),
        "alignment": str(ALIGNMENT_BYTES),
        "sha256": hashlib.sha256(firmware.data).hexdigest(),
    }
    return Template((_FOLDER / template).read_text(encoding="utf-8")).substitute(common | values)


def arena(firmware: Firmware, suffix: str, grouping: str) -> str:
    """What is said of the tensor arena in C++ ("h") or Markdown ("md"), with sizes in a format such as ",d"."""
    reserved, needed = firmware.reserved_arena_bytes, firmware.arena_bytes
    if reserved is None or needed is None:
        return filled(f"arena/unmeasured.{suffix}", firmware)
    return filled(
        f"arena/measured.{suffix}",
        firmware,
        needed=format(needed, grouping),
        reserved=format(reserved, grouping),
        margin=f"{100 * firmware.arena_margin:.3g} %",
    )
