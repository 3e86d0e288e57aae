"""A network's outputs on a split, kept so that another network's can be held against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebuild.core.losses import OUTPUTS
from edgebuild.data.given import Array

# A mask for each of thousands of samples would fill the store.
_MOST_BYTES = 256 * 10**6


def keep(outputs: Array, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
    """Write real-valued outputs [samples, ...] into a folder: all, or as many first ones as there is room for."""
    rows = max(1, most_bytes // max(1, outputs[:1].nbytes))
    np.save(folder / OUTPUTS, np.ascontiguousarray(outputs[:rows]))


def kept(folder: Path) -> Array:
    """What `keep` wrote, memory-mapped."""
    found: Array = np.load(folder / OUTPUTS, mmap_mode="r")
    return found
