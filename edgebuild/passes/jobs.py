"""What the TensorFlow child can be asked for, and what it answers. No TensorFlow here: the engine speaks these words.

A job that makes files writes them into `out`, a new folder of its own.
"""

from __future__ import annotations

import msgspec

from edgebuild.core.model import ArtifactSpec, ModelSpec, TensorSpec
from edgebuild.core.passes import Quantize
from edgebuild.core.plan import Split
from edgebuild.core.settings import Metric, Preprocess

SAVED_MODEL = "saved_model"
ARTIFACT = "model.tflite"
EXAMPLE_MODEL = "digits.keras"
EXAMPLE_DATA = "digits.npz"
# The folders that the splits are written to.
CALIBRATION = "calibration"
EVALUATION = "evaluation"


class ExampleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Train the embedded example; writes EXAMPLE_MODEL and EXAMPLE_DATA."""

    out: str
    seed: int


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """The example is there."""

    epochs: int


class FreezeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Load a network and write it as SAVED_MODEL with static shapes and a batch of 1.

    Attributes:
        kind: "file", "folder" or "callable".
        input_shape: without the batch, for a network that leaves dimensions open; empty for its own.
        signature: of a SavedModel; empty for its only one, or its default.
        allow_code: whether Python code stored in the file may run.
    """

    kind: str
    path: str
    input_shape: tuple[int, ...]
    signature: str
    allow_code: bool
    out: str


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The network as seen from outside.

    Attributes:
        batched: whether it also takes many samples at a time.
        identity_sha256: of all that decides what it computes: the traced graph, the weights, captured constants.
    """

    network: ModelSpec
    batched: bool
    identity_sha256: str


class SplitJob(msgspec.Struct, frozen=True, kw_only=True):
    """Read data, hold them against the network's inputs, and write each split as a folder of its name."""

    kind: str
    path: str
    inputs: tuple[TensorSpec, ...]
    split: Split
    out: str


class Splits(msgspec.Struct, frozen=True, kw_only=True):
    """The size and the digest of each split (0 and "" where there is none)."""

    train_samples: int
    calibration_samples: int
    evaluation_samples: int
    calibration_sha256: str
    evaluation_sha256: str
    has_answers: bool
    labels: tuple[str, ...]
    notes: tuple[str, ...]


class BaselineJob(msgspec.Struct, frozen=True, kw_only=True):
    """Score the float network on the evaluation split."""

    saved_model: str
    network: ModelSpec
    batched: bool
    evaluation: str
    preprocess: Preprocess
    metric: Metric


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The float network's score."""

    score: float
    samples: int


class QuantizeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Convert to ARTIFACT; `calibration` is a split's folder, or empty where the scheme needs none."""

    saved_model: str
    calibration: str
    preprocess: Preprocess
    quantize: Quantize
    network: ModelSpec
    out: str


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact is there and was read back."""

    artifact: ArtifactSpec
