"""Artifacts timed on this machine, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgebuild import hashing, host
from edgebuild.core.manifest import FILE_NAME
from edgebuild.core.measurement import Measurement
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.engine import check, figures, toolchain
from edgebuild.engine.session import Session, Step
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes.jobs import Bench, BenchJob

_ARTIFACT = ".tflite"


class Runnable(NamedTuple):
    """An artifact that may be run: where it lies, and the kernels that compute like its target's."""

    path: Path
    kernels: Kernels


class Benched(NamedTuple):
    """The figures of one artifact."""

    path: Path
    measurements: tuple[Measurement, ...]


def find(place: Path, kernels: Kernels | None) -> list[Runnable]:
    """The artifacts at a place, looked through before anything runs them.

    Args:
        place: a .tflite file, a manifest, one target's folder, or a folder of targets.
        kernels: None for those of each artifact's target, and XNNPACK's for files of which nothing is known.

    Raises:
        UsageError: there is nothing at the place.
        StepError: a file or a manifest is damaged, or a file is not what the manifest beside it describes.
        OSError: a file cannot be opened.
    """
    is_file = place.suffix == _ARTIFACT
    manifests = _beside(place) if is_file else check.find(place)
    found = []
    for path in manifests:
        manifest = check.read(path)
        check.require_unchanged(manifest, path)
        artifact = path.parent / Path(manifest.artifact.path).name
        found.append(Runnable(artifact, kernels or manifest.plan.runtime.kernels))
    if is_file and not any(item.path.resolve() == place.resolve() for item in found):
        found = [Runnable(place, kernels or Kernels.XNNPACK)]
    for item in found:
        _require_sound(item.path)
    return found


def bench(artifacts: list[Runnable], settings: BenchSettings, session: Session) -> list[Benched]:
    """Time each in a child of its own.

    Raises:
        StepError: an interpreter refused one, or its process ended or broke its limits.
    """
    return [_bench(item, settings, session) for item in artifacts]


def _bench(item: Runnable, settings: BenchSettings, session: Session) -> Benched:
    step = Step(
        "bench",
        f"time inferences of {item.path.name} on this machine",
        [hashing.of_file(item.path), item.kernels, settings, host.identity()],
        lambda _: BenchJob(artifact=str(item.path), kernels=item.kernels, bench=settings),
        again=True,
    )
    (made,) = session.run([step])
    found = made.read(Bench)
    return Benched(item.path, figures.of_bench(item.kernels, settings, found, host.describe(), toolchain.versions()))


def _beside(artifact: Path) -> list[Path]:
    """The manifest of this file's name, where there is one beside it."""
    path = artifact.parent / FILE_NAME
    if not path.is_file():
        return []
    try:
        named = Path(check.read(path).artifact.path).name
    except StepError:
        return []
    return [path] if named == artifact.name else []


def _require_sound(artifact: Path) -> None:
    inspection = inspect(artifact.read_bytes(), artifact.name)
    if inspection.doubts:
        raise StepError(
            f"{artifact.name} is doubtful and is not run",
            "\n".join(inspection.doubts),
            "Build or download it again.",
        )
