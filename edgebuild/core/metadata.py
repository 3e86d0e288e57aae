"""Metadata: what an artifact tells mobile SDKs of itself, as far as edgebuild writes and reads it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

# The name of its entry in a .tflite file.
ENTRY = "TFLITE_METADATA"


class Content(StrEnum):
    """What a tensor holds: features of any kind, an image of three or one channels, or sound."""

    FEATURES = "features"
    RGB = "rgb"
    GRAYSCALE = "grayscale"
    AUDIO = "audio"


class Pixels(StrEnum):
    """How samples hold pixels, which apps have as 0 to 255."""

    BYTES = "0 to 255"
    UNIT = "0 to 1"
    SIGNED = "-1 to 1"
    OTHER = "other"


class InputDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the graph.

    Attributes:
        mean: what an SDK takes off the values that an app has, one for all channels or one for each.
        std: what it divides them by then; as many. Both empty where the network takes values as they are.
        low: the smallest value that an app has, as many as channels or one; empty where that is not known.
        high: the largest.
        sample_rate: of sound, in Hz; 0 where that is not known.
        channels: of sound.
    """

    name: str
    text: str = ""
    content: Content = Content.FEATURES
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    sample_rate: int = 0
    channels: int = 0


class OutputDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One output of the graph; `labels` name the entries of its last axis."""

    name: str
    text: str = ""
    labels: tuple[str, ...] = ()


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact; inputs and outputs stand in the order of its graph's."""

    name: str
    text: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[InputDescription, ...]
    outputs: tuple[OutputDescription, ...]
