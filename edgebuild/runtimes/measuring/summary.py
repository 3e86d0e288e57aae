"""Rounds summed up: what is told of an artifact once its last process has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from edgebuild.actions.measuring import Timing
from edgebuild.core.budget import Subject
from edgebuild.runtimes.measuring.rounds import Ran, settled
from edgebuild.runtimes.places.protocol import Loaded
from edgebuild.timing.conditions import BlockRecord, conditions
from edgebuild.timing.intervals import Processes, intervals
from edgebuild.timing.quantiles import describe

T = TypeVar("T")


def samples_of(rans: Iterable[Ran]) -> Processes:
    """Samples by process and block."""
    return [[np.asarray(settled(block), np.float64) for block in ran.blocks] for ran in rans]


def timing(rans: Sequence[Ran], subject: Subject, notes: Iterable[str]) -> Timing:
    """What was measured of one artifact.

    Args:
        rans: its processes, at least one.
        subject: what its samples are.
        notes: what is to be said beside what the blocks tell of the machine.
    """
    processes = samples_of(rans)
    loaded = rans[-1].loaded
    # What slows a machine down changes no count.
    is_timed = subject == Subject.LATENCY
    records = [_record(ran, position) for ran in rans for position in range(len(ran.blocks)) if is_timed]
    peaks = (ran.closing.peak_memory_bytes for ran in rans)
    return Timing(
        subject=subject,
        machine=loaded.machine,
        kernels=loaded.kernels,
        versions=loaded.versions,
        blocks=tuple(tuple(block.tolist()) for process in processes for block in process),
        processes=tuple(len(process) for process in processes),
        statistics=of_inferences(describe(np.concatenate([block for run in processes for block in run])), loaded),
        intervals=of_inferences(intervals(processes), loaded),
        load=tuple(ran.loaded.load for ran in rans if ran.loaded.load is not None),
        first=tuple(ran.loaded.first for ran in rans if ran.loaded.first is not None),
        peak_memory_bytes=tuple(peak for peak in peaks if peak is not None),
        energy_j=_energy_j(rans),
        conditions=(*notes, *([f"each sample is {loaded.sample}"] if loaded.sample else []), *conditions(records)),
    )


def of_inferences(figures: dict[str, T], loaded: Loaded) -> dict[str, T]:
    """The figures that tell of inferences: where each sample stands for a run of them there are no percentiles."""
    return {name: figure for name, figure in figures.items() if not (loaded.sample and name.startswith("p"))}


def _record(ran: Ran, position: int) -> BlockRecord:
    block = ran.blocks[position]
    return BlockRecord(
        cost=float(np.median(settled(block))),
        wall_s=block.wall_s,
        cpu_s=block.cpu_s,
        preempted=block.preempted,
        probe_s=block.probe_s,
    )


def _energy_j(rans: Sequence[Ran]) -> float | None:
    """Of one inference; whatever else the device did in that time is in it."""
    told = [(block.energy_j, len(block.samples)) for ran in rans for block in ran.blocks if block.energy_j is not None]
    return sum(energy for energy, _ in told) / sum(count for _, count in told) if told else None
