"""The child that runs one artifact on this machine: what `runner` does, answered as jobs of `edgebuild.child`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgebuild.child import Job, Say
from edgebuild.errors import StepError, UnavailableError
from edgebuild.runtimes.places import runner
from edgebuild.runtimes.places.protocol import Block, Closing, Loaded

# What stands for TensorFlow Lite Micro where others name a kernel family of LiteRT.
TFLM = "tflm"
_NAMES = {TFLM: "TensorFlow Lite Micro"}


class OpenJob(msgspec.Struct, frozen=True, kw_only=True):
    """Load an artifact and run it once; `core` is the one that a single thread is held on, None for the idlest."""

    artifact: str
    kernels: str
    threads: int
    pin: bool
    core: int | None


class BlockJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run inferences; as `places.protocol.Worker.block` takes it."""

    time_s: float
    most: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """For each sample what each input stores; in the answer, what each output does."""

    samples: tuple[tuple[bytes, ...], ...]


class CloseJob(msgspec.Struct, frozen=True, kw_only=True):
    """Tell what only the end knows."""


class _Opened:
    """The one artifact of this process."""

    runner: runner.Runner
    name: str
    kernels: str


def _open(job: OpenJob, _: Say) -> Loaded:
    _Opened.name, _Opened.kernels = Path(job.artifact).name, job.kernels
    with _told():
        if job.kernels != TFLM:
            _Opened.runner = runner.open_runner(job.artifact, job.kernels, job.threads, job.pin, job.core)
            return msgspec.convert(_Opened.runner.describe(), Loaded)
        from edgebuild.runtimes.places.micro import MicroNetwork  # of an extra that may not be installed

        held = runner.hold_on_cores(1, job.core) if job.pin else None
        _Opened.runner = runner.Runner(MicroNetwork(Path(job.artifact)), held)
        # Its loading looks for missing kernels as well, which a device never does.
        return msgspec.convert({**_Opened.runner.describe(), "load": None}, Loaded)


def _block(job: BlockJob, _: Say) -> Block:
    with _told():
        return msgspec.convert(_Opened.runner.block(job.time_s, job.most), Block)


def _outputs(job: Stored, _: Say) -> Stored:
    with _told():
        made = _Opened.runner.outputs([list(sample) for sample in job.samples])
    return Stored(samples=tuple(tuple(sample) for sample in made))


def _close(_job: CloseJob, _: Say) -> Closing:
    return Closing(peak_memory_bytes=_Opened.runner.peak_memory_bytes())


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Around the runner's work: what it raises, as edgebuild says it."""
    try:
        yield
    except runner.Refusal as refusal:
        interpreter = _NAMES.get(_Opened.kernels, "LiteRT")
        on = "" if _Opened.kernels in _NAMES else f" with {_Opened.kernels} kernels"
        raise StepError(f"{interpreter} does not run {_Opened.name}{on}", str(refusal)) from None
    except runner.Missing as missing:
        raise UnavailableError(
            "there is no LiteRT on this machine", str(missing), "Install it: pip install ai-edge-litert."
        ) from None


JOBS = {
    "open": Job(OpenJob, _open),
    "block": Job(BlockJob, _block),
    "outputs": Job(Stored, _outputs),
    "close": Job(CloseJob, _close),
}
