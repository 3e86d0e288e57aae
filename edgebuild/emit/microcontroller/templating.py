"""Texts made of the files in `templates`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from string import Template

from edgebuild.emit.microcontroller import cpp
from edgebuild.emit.microcontroller.firmware import ALIGNMENT_BYTES, Firmware

_FOLDER = Path(__file__).parent / "templates"


def filled(template: str, firmware: Firmware, **values: str) -> str:
    """A template with what all of them may name, and `values`."""
    identifier = cpp.identifier(firmware.name)
    common = {
        "id": identifier,
        "guard": identifier.upper(),
        # Quoted, so that no character of a name can end a comment or the line.
        "title": cpp.string(firmware.name),
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
