"""Data: divided into splits, made up, and looked through for faults."""

from __future__ import annotations

import msgspec

from edgebuild.actions.scores import Baseline
from edgebuild.actions.tools import DATA_PACKAGES, TENSORFLOW, TENSORFLOW_PACKAGES
from edgebuild.core.action import File, Kind, Out
from edgebuild.core.delivery import Pixels
from edgebuild.core.finding import Finding
from edgebuild.core.metric import Metric
from edgebuild.core.model import ModelSpec, TensorSpec
from edgebuild.core.plan import Split
from edgebuild.core.resizing import Resizing
from edgebuild.core.settings import Preprocess

# The folders that the splits are written to.
CALIBRATION = "calibration"
EVALUATION = "evaluation"
LEARNING = "learning"
VALIDATION = "validation"
# Where each sample to learn from was in the train split as it was given.
LEARNING_ROWS = "learning_rows.npy"


class SplitJob(msgspec.Struct, frozen=True, kw_only=True):
    """Read data, hold them against the network's inputs, and write each split as a folder of its name."""

    kind: str
    path: File
    inputs: tuple[TensorSpec, ...]
    split: Split
    out: Out = ""


class Splits(msgspec.Struct, frozen=True, kw_only=True):
    """The size and the digest of each split (0 and "" where there is none).

    `learning` is all of train that is not evaluated on; `given` is train as it was given. `resizing` is how images were
    made to fit; None where all did. `pixels` is how the samples of each input would hold pixels; empty for no samples.
    """

    train_samples: int
    calibration_samples: int
    evaluation_samples: int
    given_samples: int
    learning_samples: int
    learning_sha256: str
    calibration_sha256: str
    evaluation_sha256: str
    has_answers: bool
    learning_has_answers: bool
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    validation_samples: int = 0
    validation_sha256: str = ""
    resizing: Resizing | None = None
    pixels: tuple[Pixels, ...] = ()


SPLIT = Kind(
    name="split",
    settings=SplitJob,
    result=Splits,
    run="edgebuild.passes.split:run",
    tool=TENSORFLOW,
    title=lambda _: "read the data and divide them",
    packages=(*TENSORFLOW_PACKAGES, *DATA_PACKAGES),
    is_known=lambda job: job.kind != "callable",
)


class SynthesizeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Make up calibration samples for the network in a file; answered with Splits that hold nothing else."""

    network: File
    samples: int
    preprocess: Preprocess
    seed: int
    out: Out = ""


SYNTHESIZE = Kind(
    name="synthesize",
    settings=SynthesizeJob,
    result=Splits,
    run="edgebuild.passes.synthesize:run",
    tool=TENSORFLOW,
    title=lambda job: f"make up {job.samples} inputs that batch norms find usual",
    packages=TENSORFLOW_PACKAGES,
)


class LintJob(msgspec.Struct, frozen=True, kw_only=True):
    """Look for faults in the data.

    Attributes:
        data: the splits there are and of use, by the names of their folders.
        labels: names of the classes.
        baseline: the float network's accuracy; None where it was not scored, or by another metric.
        is_int8: whether activations are quantized to 8 bits.
    """

    saved_model: File
    network: ModelSpec
    batched: bool
    data: dict[str, File]
    preprocess: Preprocess
    metric: Metric
    labels: tuple[str, ...]
    baseline: Baseline | None
    is_int8: bool = False


class Linted(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    findings: tuple[Finding, ...]


LINT = Kind(
    name="lint",
    settings=LintJob,
    result=Linted,
    run="edgebuild.passes.lint:run",
    tool=TENSORFLOW,
    title=lambda _: "look for faults in the data",
    packages=(*TENSORFLOW_PACKAGES, *DATA_PACKAGES),
    is_known=lambda job: job.metric.is_known,
)
