"""What every place that runs artifacts can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from edgebuild.core.budget import Subject
from edgebuild.core.target import Kernels
from edgebuild.errors import UnavailableError
from edgebuild.units import format_seconds


class How(NamedTuple):
    """How an artifact is to be run: the kernels where the place has a choice, threads, and whether to hold one core."""

    kernels: Kernels
    threads: int = 1
    pin: bool = True


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells once it has loaded an artifact; costs are in the place's unit: seconds or instructions.

    Attributes:
        machine: what the place is, for people.
        kernels: that run: a LiteRT family, or "tflm".
        versions: of the packages or tools that run it.
        load: from the file to an interpreter that is ready for its inputs; None where it could not be told apart.
        first: the first inference, which packs weights and touches memory; None where it could not be told apart.
        sample: what a sample is, where it is no single inference: "the median of a run"; empty where it is one.
        core: the core that the process is held on; None where it is not.
    """

    machine: str
    kernels: str
    versions: dict[str, str]
    load: float | None = None
    first: float | None = None
    sample: str = ""
    core: int | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Inferences run without a break.

    Attributes:
        samples: the cost of single inferences in the place's unit (seconds or instructions), in order.
        wall_s: of the whole block.
        cpu_s: of the processor, all threads of the process together; None where the place does not tell.
        preempted: how often the system took the core away from the process; None where unknown.
        probe_s: seconds of a fixed piece of work done just before, which tells how fast the core is now; None where
            there is none.
        energy_j: that the device says it took while the block ran, whoever used it; None where it is silent.
    """

    samples: tuple[float, ...]
    wall_s: float
    cpu_s: float | None = None
    preempted: int | None = None
    probe_s: float | None = None
    energy_j: float | None = None


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells at its end: how far loading and running raised its peak memory; None where unknown."""

    peak_memory_bytes: int | None = None


class Worker(Protocol):
    """A fresh process at a place that has loaded one artifact.

    Every method raises StepError where the process ended, hung or broke its limits; the message says which.
    """

    @property
    def loaded(self) -> Loaded:
        """What it told once it had loaded."""
        ...

    def block(self, *, time_s: float, most: int) -> Block:
        """Run inferences for `time_s` seconds of wall time, at least one and at most `most`."""
        ...

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Run samples, each from a state without memory of the one before.

        Args:
            samples: for each sample what each input stores, in the order of the file's inputs (C order, batch of one).

        Returns:
            For each sample what each output stores, in the order of the file's outputs.

        Raises:
            UnavailableError: the place runs a program that keeps outputs to itself.
        """
        ...

    def close(self) -> Closing:
        """End the process; nothing is left behind at the place. May be called twice, and then tells the same."""
        ...


class Place(Protocol):
    """Somewhere that artifacts can be run."""

    @property
    def label(self) -> str:
        """As it is written in options, budgets and manifests."""
        ...

    @property
    def subject(self) -> Subject:
        """What its samples are: LATENCY in seconds, or INSTRUCTIONS."""
        ...

    def start(self, artifact: Path, how: How) -> Worker:
        """Load an artifact in a fresh process, with random inputs that are the same each time, and run it once.

        Raises:
            UnavailableError: the place is not there, or lacks a tool; one sentence and the remedy.
            StepError: the interpreter refused the artifact, crashed, hung or broke its limits.
        """
        ...

    def close(self) -> None:
        """End what the place keeps open between workers."""
        ...


def waiting(machine: str) -> str:
    """What is said while another call measures."""
    return f"wait for {machine}, which measures for another call of edgebuild"


def busy(machine: str, waited_s: float) -> UnavailableError:
    """Another call measured for too long."""
    return UnavailableError(
        f"{machine} is measuring for another call of edgebuild",
        f"This one has waited for {format_seconds(waited_s)}.",
        "Try again when that is done.",
    )


def unheard(_: str) -> None:
    """Where nobody listens."""
