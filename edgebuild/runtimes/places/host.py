"""This machine as a place: LiteRT's kernels, or those of TensorFlow Lite Micro, in processes with limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edgebuild.child import Say
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.place import PlaceKind
from edgebuild.process import Child, Limits
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded, unheard
from edgebuild.runtimes.places.serving import TFLM, BlockJob, CloseJob, OpenJob, Stored

_SERVING = "edgebuild.runtimes.places.serving"

T = TypeVar("T", bound=msgspec.Struct)


def open_place(named: place.Place, limits: Limits, folder: Path, _say: Say = unheard) -> HostPlace:
    """This machine.

    Args:
        named: `host`, `host:xnnpack=off` or `tflm`.
        limits: what one request to a worker may take.
        folder: that logs are written into.
        _say: not used: nothing is waited for.
    """
    return HostPlace(named, limits, folder)


class HostPlace:
    """This machine. Workers that live at the same time are held on the same core, so that they can be compared."""

    def __init__(self, named: place.Place, limits: Limits, folder: Path) -> None:
        self._named = named
        self._limits = limits
        self._folder = folder
        self._core: int | None = None
        self._alive: set[HostWorker] = set()
        self._started = 0

    @property
    def label(self) -> str:
        """As it is written in options, budgets and manifests."""
        return self._named.label

    @property
    def subject(self) -> Subject:
        """Seconds."""
        return Subject.LATENCY

    def start(self, artifact: Path, how: How) -> HostWorker:
        """Load an artifact in a fresh process; see the Protocol.

        Raises:
            UnavailableError: TFLM was asked for and is not installed.
            StepError: the interpreter refused the artifact, crashed, hung or broke its limits.
        """
        if not self._alive:
            self._core = None
        self._started += 1
        job = OpenJob(
            artifact=str(artifact),
            kernels=TFLM if self._named.kind == PlaceKind.TFLM else str(self._named.kernels or how.kernels),
            threads=how.threads,
            pin=how.pin,
            core=self._core,
        )
        log = self._folder / f"{self._named.kind}-{self._started}.log"
        worker = HostWorker(job, self._limits, log, self._alive.discard)
        self._alive.add(worker)
        self._core = worker.loaded.core
        return worker

    def close(self) -> None:
        """End the workers that are left."""
        for worker in tuple(self._alive):
            worker.close()


class HostWorker:
    """A process of this machine that has loaded one artifact.

    Args:
        job: what it loads.
        limits: of each request.
        log: that takes what it prints.
        ended: is told when it has ended.

    Raises:
        UnavailableError: its interpreter is not installed.
        StepError: the interpreter refused the artifact, crashed, hung or broke its limits.
    """

    def __init__(self, job: OpenJob, limits: Limits, log: Path, ended: Callable[[HostWorker], None]) -> None:
        self._limits = limits
        self._ended = ended
        self._closing: Closing | None = None
        self._child = Child(_SERVING, f"the interpreter of {Path(job.artifact).name}", log)
        self.loaded = self._call("open", job, Loaded)

    def block(self, *, time_s: float, most: int) -> Block:
        """Run inferences for `time_s` seconds, at least one and at most `most`."""
        return self._call("block", BlockJob(time_s=time_s, most=most), Block)

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Run samples, each from a state without memory of the one before; see the Protocol."""
        given = Stored(samples=tuple(tuple(sample) for sample in samples))
        return [list(sample) for sample in self._call("outputs", given, Stored).samples]

    def close(self) -> Closing:
        """End the process; the second time it tells the same."""
        if self._closing is None:
            try:
                self._closing = self._call("close", CloseJob(), Closing)
            finally:
                self._end()
        return self._closing

    def _call(self, name: str, job: msgspec.Struct, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(self._child.call(name, job, self._limits, unheard), type=answer)
        except BaseException:
            # Of a process that crashed, or whose interpreter raised, no other figure can be trusted.
            self._end()
            raise

    def _end(self) -> None:
        self._closing = self._closing or Closing()
        self._child.close()
        self._ended(self)
