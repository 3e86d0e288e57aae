"""What can be written for a target's developer, and what is answered."""

from __future__ import annotations

import msgspec

from edgebuild.core.delivery import Layout
from edgebuild.core.metadata import Metadata
from edgebuild.core.settings import Preprocess
from edgebuild.emit.microcontroller.firmware import Vector


class MetadataJob(msgspec.Struct, frozen=True, kw_only=True):
    """Write an artifact with its TFLite metadata to the file `out`."""

    artifact: str
    described: Metadata
    out: str


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """The size of the artifact with its metadata."""

    size_bytes: int


class FirmwareJob(msgspec.Struct, frozen=True, kw_only=True):
    """Write the sources that bring an artifact into firmware into the folder `out`; as in firmware.Firmware.

    `inputs` and `outputs` are the names of the network's, in the file's order: the file may hold none.
    """

    name: str
    artifact: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arena_bytes: int | None
    arena_margin: float
    preprocess: Preprocess
    labels: tuple[str, ...]
    labelled: str
    vector: Vector | None
    layout: Layout
    out: str
    streams: bool = False


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """The files, relative to the folder, sorted; and the constant data that they bring into a linked image."""

    paths: tuple[str, ...]
    flash_bytes: int
