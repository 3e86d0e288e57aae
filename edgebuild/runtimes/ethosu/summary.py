"""The figures that Vela writes beside a compiled network, in NAME_summary_SYSTEM.csv."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from edgebuild.core.mapping import NpuFigures
from edgebuild.errors import StepError

_KIB = 1024


def read(folder: Path, name: str) -> NpuFigures:
    """The figures of one network; raises StepError where Vela left none, or one that cannot be read."""
    try:
        (path,) = [file for file in folder.iterdir() if file.name.startswith(f"{name}_summary_")]
        with path.open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        return _figures(row)
    except (OSError, KeyError, ValueError) as error:
        raise StepError(f"Vela's summary of {name} cannot be read", f"{type(error).__name__}: {error}") from None


def _figures(row: dict[str, str]) -> NpuFigures:
    return NpuFigures(
        system_config=row["system_config"],
        memory_mode=row["memory_mode"],
        clock_hz=_finite(row["core_clock"]),
        inference_s=_finite(row["inference_time"]),
        inferences_per_s=_finite(row["inferences_per_second"]),
        sram_bytes=_bytes(row["sram_memory_used"]),
        dram_bytes=_bytes(row["dram_memory_used"]),
        on_chip_flash_bytes=_bytes(row["on_chip_flash_memory_used"]),
        off_chip_flash_bytes=_bytes(row["off_chip_flash_memory_used"]),
        macs=_whole(row["nn_macs"]),
        npu_cycles=_whole(row["cycles_npu"]),
        sram_cycles=_whole(row["cycles_sram_access"]),
        dram_cycles=_whole(row["cycles_dram_access"]),
        on_chip_flash_cycles=_whole(row["cycles_on_chip_flash_access"]),
        off_chip_flash_cycles=_whole(row["cycles_off_chip_flash_access"]),
        total_cycles=_whole(row["cycles_total"]),
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value


def _whole(text: str) -> int:
    return round(_finite(text))


def _bytes(kib: str) -> int:
    """Vela counts memory in KiB."""
    return round(_finite(kib) * _KIB)
