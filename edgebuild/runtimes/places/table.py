"""The table of places: a new kind is a file here and a line in it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.place import PlaceKind
from edgebuild.process import Limits
from edgebuild.runtimes.places import plugged
from edgebuild.runtimes.places.protocol import Place

# Each module has a function `open_place(place, limits, folder, say)`.
_MODULES = {
    PlaceKind.HOST: "edgebuild.runtimes.places.host",
    PlaceKind.TFLM: "edgebuild.runtimes.places.host",
    PlaceKind.SSH: "edgebuild.runtimes.places.ssh",
    PlaceKind.ADB: "edgebuild.runtimes.places.adb",
    PlaceKind.ARM64: "edgebuild.runtimes.places.arm64",
}

Opener = Callable[[place.Place, Limits, Path, Say], Place]


def open_place(named: place.Place, limits: Limits, folder: Path, say: Say) -> Place:
    """The place of a name.

    Args:
        named: which one.
        limits: what one request to a worker may take; `memory_bytes` is of its process.
        folder: that logs may be written into.
        say: is told where another call's measurement is waited for.

    Raises:
        UnavailableError: a tool that every use of this place needs is missing; one sentence and the remedy.
    """
    if named.plugin is not None:
        return plugged.open_place(named, named.plugin, limits, folder, say)
    opener = cast("Opener", import_module(_MODULES[named.kind]).open_place)
    return opener(named, limits, folder, say)
