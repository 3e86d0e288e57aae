"""What the steps of a build take and leave: networks, divided data, artifacts, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgebuild.core.model import ArtifactSpec, ModelSpec
from edgebuild.core.plan import Plan
from edgebuild.passes import jobs


class Network(NamedTuple):
    """A frozen network: what it is, where its SavedModel lies, and what tells it from all others."""

    frozen: jobs.Frozen
    path: Path
    identity: str


class Changeable(NamedTuple):
    """A network that passes can change: where its file lies, and what tells it from all others."""

    path: Path
    identity: str


class Part(NamedTuple):
    """Samples that are run.

    Attributes:
        path: the folder of their split, which has its name.
        sha256: of the split.
        samples: how many of it are run.
        most: the number that this is limited to, evenly spread over the split; 0 for no limit.
    """

    path: Path
    sha256: str
    samples: int
    most: int = 0

    def limited(self, most: int) -> Part:
        """No more of them than so many."""
        limit = min(most, self.most) if self.most else most
        return self._replace(samples=min(self.samples, limit), most=limit)


class Data(NamedTuple):
    """Divided data: what they are, where the splits lie, and how the float network does on samples it has not seen."""

    splits: jobs.Splits
    path: Path
    unseen: jobs.Unseen | None = None

    @property
    def learns(self) -> bool:
        """Whether there are samples to learn from."""
        return self.splits.learning_samples > 0

    @property
    def calibrates(self) -> bool:
        """Whether there are samples to choose ranges on."""
        return self.splits.calibration_samples > 0

    @property
    def evaluation(self) -> Part:
        """The samples that artifacts are scored on."""
        return Part(self.path / jobs.EVALUATION, self.splits.evaluation_sha256, self.splits.evaluation_samples)

    @property
    def learning(self) -> Part:
        """The samples to learn from."""
        return Part(self.path / jobs.LEARNING, self.splits.learning_sha256, self.splits.learning_samples)

    @property
    def calibration(self) -> Part:
        """The samples that ranges are chosen on."""
        return Part(self.path / jobs.CALIBRATION, self.splits.calibration_sha256, self.splits.calibration_samples)


class Reference(NamedTuple):
    """The float network as a float32 .tflite file: where it lies, what was read back from it, its layers' names."""

    path: Path
    spec: ArtifactSpec
    layers: tuple[str, ...]


class Built(NamedTuple):
    """An artifact that fits its plan.

    Attributes:
        path: where it lies.
        spec: what was read back from it.
        plain: what quantization alone made of the network; None where the passes before it changed nothing.
        notes: what these passes had to say.
        network: the network that was converted.
        reference: the float network whose layers it has; None where there is none to compare with.
    """

    plan: Plan
    path: Path
    spec: ArtifactSpec
    plain: Built | None
    notes: tuple[str, ...]
    network: ModelSpec
    reference: Reference | None = None
