"""Manifest: all that is known of one build, as `manifest.json` beside the artifact keeps it."""

from __future__ import annotations

import msgspec

from edgebuild.core.budget import Unit
from edgebuild.core.comparison import Comparison
from edgebuild.core.delivery import Leaner, PackedFile
from edgebuild.core.device import DeviceReport
from edgebuild.core.finding import Finding
from edgebuild.core.losses import Losses
from edgebuild.core.measurement import Measurement
from edgebuild.core.model import ArtifactSpec, ModelSpec
from edgebuild.core.plan import Plan, Source
from edgebuild.core.resizing import Resizing
from edgebuild.core.verdict import Verdict

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """The file that ships; `path` is relative to the manifest, sizes are bytes (gzip at level 9, no name, no time)."""

    path: str
    sha256: str
    size_bytes: int
    size_gzip_bytes: int


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """What an artifact takes.

    Attributes:
        size_bytes: of the file, which is what a microcontroller keeps in flash.
        size_gzip_bytes: of a download.
        activations_bytes: live tensors at the worst moment (estimated), which is what takes up RAM.
        macs: multiply-accumulates of one inference.
    """

    size_bytes: int
    size_gzip_bytes: int
    activations_bytes: int
    macs: int


class Shrinkage(msgspec.Struct, frozen=True, kw_only=True):
    """What the passes before quantization did to the artifact: beside what quantization alone would have made."""

    before: Footprint
    after: Footprint


class FurtherScore(msgspec.Struct, frozen=True, kw_only=True):
    """Another score of the same outputs, which gates nothing: of the float network (`baseline`) and of the artifact."""

    metric: str
    baseline: float
    artifact: float
    unit: Unit


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """The score of the float network (`baseline`) and of the artifact on the same `samples`; None where not scored.

    `why` says why the metric was chosen, and is empty where it was named and nothing had to be chosen.
    """

    metric: str
    baseline: float
    artifact: float
    samples: int
    lower_is_better: bool
    unit: Unit
    why: str = ""
    further: tuple[FurtherScore, ...] = ()


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The data as they were used: how many samples each split had, the digests of the splits, and their labels.

    `validation_samples` were given for training and compression to choose by; 0 where that was a share of train.
    `resizing` is how images were made to fit the network; None where all did.
    """

    source: Source
    train_samples: int
    calibration_samples: int
    evaluation_samples: int
    calibration_sha256: str
    evaluation_sha256: str
    labels: tuple[str, ...] = ()
    validation_samples: int = 0
    resizing: Resizing | None = None


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the build was made from; `network_sha256` is of what the network computes, however it was given."""

    model: Source
    network: ModelSpec
    network_sha256: str
    data: DataRecord | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One build for one target.

    Attributes:
        compression: None where nothing but quantization was done.
        losses: what was lost against the float network; None where nothing could be compared.
        files: what was left beside the artifact.
        reports: the paths of reports that were written beside it; they may be written again, and are not compared.
        leaner: what packing took off the file; None where it was not packed.
        device: what the target's own runtime and compiler say.
        lacking: why a figure could not be had, by its subject, or "SUBJECT on PLACE".
        comparison: with its baseline; None where none was named.
        network: the artifact as it was read back: tensors, operators, versions.
        toolchain: versions of the packages that made the artifact.
        repair: every build that was tried where the accuracy budget was missed, the first as planned.
        notes: what was decided for the user and said aloud.
        findings: faults of the data, of which the user was warned.
    """

    schema_version: int = SCHEMA_VERSION
    edgebuild: str
    name: str
    target: str
    artifact: Artifact
    accuracy: Accuracy | None
    compression: Shrinkage | None = None
    losses: Losses | None = None
    files: tuple[PackedFile, ...] = ()
    reports: tuple[str, ...] = ()
    leaner: Leaner | None = None
    device: DeviceReport = DeviceReport()
    lacking: dict[str, str] = {}
    measurements: tuple[Measurement, ...]
    comparison: Comparison | None = None
    verdict: Verdict
    plan: Plan
    network: ArtifactSpec
    toolchain: dict[str, str]
    inputs: Inputs
    repair: tuple[Rung, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One build on the repair ladder.

    Attributes:
        name: what it does more than the one before it, for people.
        accuracy: the artifact's score.
        size_bytes: of the artifact.
        latency_s: the median at the first place that times; None where none does.
        kept: whether it keeps the accuracy budget.
    """

    name: str
    accuracy: float
    size_bytes: int
    latency_s: float | None
    kept: bool
