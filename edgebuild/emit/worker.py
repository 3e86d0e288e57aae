"""The child that writes what is handed over: metadata into an artifact, and sources for firmware."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from edgebuild.actions.conversion import ARTIFACT, Described, FirmwareJob, MetadataJob, Sources
from edgebuild.child import Say
from edgebuild.core.model import ArtifactSpec
from edgebuild.emit.metadata.writing import with_metadata
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.package import flash, package
from edgebuild.flatbuffer import reader


def describe(job: MetadataJob, _: Say) -> Described:
    """Write the artifact with its metadata.

    Raises:
        StepError: the artifact is damaged.
        UsageError: the description does not fit it.
    """
    data = with_metadata(Path(job.artifact).read_bytes(), job.described)
    (Path(job.out) / ARTIFACT).write_bytes(data)
    return Described(size_bytes=len(data))


def firmware(job: FirmwareJob, _: Say) -> Sources:
    """Write the sources.

    Raises:
        StepError: the firmware's library has no such operator, or its language no such type.
    """
    data = Path(job.artifact).read_bytes()
    made = Firmware(
        name=job.name,
        data=data,
        spec=_named(reader.parse(data, job.name), job),
        arena_bytes=job.arena_bytes,
        arena_margin=job.arena_margin,
        preprocess=job.preprocess,
        labels=job.labels,
        labelled=job.labelled,
        vector=job.vector,
        streams=job.streams,
    )
    files = package(made, job.layout)
    for file in files:
        place = Path(job.out) / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    return Sources(paths=tuple(file.path for file in files), flash_bytes=flash(made).total_bytes)


def _named(spec: ArtifactSpec, job: FirmwareJob) -> ArtifactSpec:
    """The file's inputs and outputs under the network's names."""
    return replace(
        spec,
        inputs=tuple(replace(end, name=name) for end, name in zip(spec.inputs, job.inputs, strict=True)),
        outputs=tuple(replace(end, name=name) for end, name in zip(spec.outputs, job.outputs, strict=True)),
    )
