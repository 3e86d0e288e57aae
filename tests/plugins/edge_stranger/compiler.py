"""A compiler for an accelerator that computes convolutions and dense layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgebuild.core.device import Compiled, Mapping, Place
from edgebuild.core.measurement import Mode
from edgebuild.core.target import Accelerator
from edgebuild.errors import UnavailableError
from edgebuild.flatbuffer import reader

_TAKES = {"CONV_2D", "FULLY_CONNECTED"}


def compile_(artifact: Path, accelerator: Accelerator, out: Path) -> Compiled:
    """Compile; the file for the device begins with four letters."""
    if accelerator.configuration == "not-here":
        raise UnavailableError("the stranger's compiler is not installed", remedy="Install it.")
    if accelerator.configuration == "wrong":
        return artifact  # type: ignore[return-value]
    counts = Counter(operator.name for operator in reader.read(artifact).operators)
    places = tuple(
        Place(operator=name, count=count, is_mapped=name in _TAKES, reason="" if name in _TAKES else "not taken")
        for name, count in counts.items()
    )
    (out / f"{artifact.stem}_sx1.bin").write_bytes(b"SX1\0" + artifact.read_bytes())
    mapping = Mapping(accelerator="sx1", mode=Mode.ESTIMATED, source="sxc 0.1", places=places, partitions=1)
    return Compiled(mapping=mapping, compiled=f"{artifact.stem}_sx1.bin", inference_s=1e-3)
