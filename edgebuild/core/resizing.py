"""Resizing: how images of a folder were made to fit a network's input."""

from __future__ import annotations

import msgspec


class Resizing(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to the images whose size was another.

    Attributes:
        method: the interpolation; the aspect ratio is not kept, nothing is cropped or padded.
        library: what did it, with its version.
        images: how many were resized, of all.
        total: all.
        smallest: of those that were resized the one with the least pixels, (height, width).
        largest: the one with the most.
        size: of the network's input, (height, width).
    """

    method: str
    library: str
    images: int
    total: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    size: tuple[int, int]

    @property
    def text(self) -> str:
        """For people."""
        small, large, to = (f"{height} x {width}" for height, width in (self.smallest, self.largest, self.size))
        sizes = small if small == large else f"between {small} and {large}"
        return (
            f"{self.images:,} of {self.total:,} images were resized from {sizes} to {to} pixels (height x width; "
            f"{self.method}, aspect ratio not kept, {self.library}): an app must do the same"
        )
