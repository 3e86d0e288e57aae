"""What the actions of a build take and leave: networks, divided data, artifacts; each knows its files by reference."""

from __future__ import annotations

from typing import NamedTuple

from edgebuild import hashing
from edgebuild.actions.compression import Unseen
from edgebuild.actions.datasets import CALIBRATION, EVALUATION, LEARNING, Splits
from edgebuild.actions.networks import Frozen
from edgebuild.core.action import Ref
from edgebuild.core.model import ArtifactSpec, ModelSpec
from edgebuild.core.plan import Plan


class Network(NamedTuple):
    """A frozen network: what it is, and its SavedModel."""

    frozen: Frozen
    ref: Ref


class Part(NamedTuple):
    """Samples that are run.

    Attributes:
        split: that they are of.
        ref: the folder of the split.
        samples: how many of it are run.
        most: the number that this is limited to, evenly spread over the split; 0 for no limit.
    """

    split: str
    ref: Ref
    samples: int
    most: int = 0

    def limited(self, most: int) -> Part:
        """No more of them than so many."""
        limit = min(most, self.most) if self.most else most
        return self._replace(samples=min(self.samples, limit), most=limit)


class Data(NamedTuple):
    """Divided data: what they are, the store's key of the splits, and how the float network does on unseen samples."""

    splits: Splits
    entry: str
    unseen: Unseen | None = None

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
        return self._part(EVALUATION, self.splits.evaluation_sha256, self.splits.evaluation_samples)

    @property
    def learning(self) -> Part:
        """The samples to learn from."""
        return self._part(LEARNING, self.splits.learning_sha256, self.splits.learning_samples)

    @property
    def calibration(self) -> Part:
        """The samples that ranges are chosen on."""
        return self._part(CALIBRATION, self.splits.calibration_sha256, self.splits.calibration_samples)

    @property
    def for_training(self) -> Ref:
        """The folder of the splits that a training sees: what it evaluates on by itself is among them."""
        seen = [self.splits.learning_sha256, self.splits.validation_sha256]
        return Ref(hashing.of_data(seen), self.entry)

    def _part(self, split: str, sha256: str, samples: int) -> Part:
        return Part(split, Ref(sha256, self.entry, split), samples)


class Reference(NamedTuple):
    """The float network as a float32 .tflite file: the file, what was read back from it, its layers' names."""

    ref: Ref
    spec: ArtifactSpec
    layers: tuple[str, ...]


class Built(NamedTuple):
    """An artifact that fits its plan.

    Attributes:
        ref: its file.
        spec: what was read back from it.
        plain: what quantization alone made of the network; None where the passes before it changed nothing.
        notes: what these passes had to say.
        network: the network that was converted.
        reference: the float network whose layers it has; None where there is none to compare with.
    """

    plan: Plan
    ref: Ref
    spec: ArtifactSpec
    plain: Built | None
    notes: tuple[str, ...]
    network: ModelSpec
    reference: Reference | None = None
