"""What the TensorFlow child can be asked for, and what it answers. No TensorFlow here: the engine speaks these words.

A job that makes files writes them into `out`, a new folder of its own.
"""

from __future__ import annotations

import msgspec

from edgebuild.core.finding import Finding
from edgebuild.core.layers import LayerShape
from edgebuild.core.metadata import Pixels
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec, ModelSpec, TensorSpec
from edgebuild.core.passes import Pass, Quantize, Recurrent
from edgebuild.core.plan import Split
from edgebuild.core.resizing import Resizing
from edgebuild.core.settings import AUTO, DistillSettings, Preprocess, TrainSettings
from edgebuild.layer_costs import LatencyTable

SAVED_MODEL = "saved_model"
NETWORK = "network.npz"
# The kind of what a pass wrote, beside those of what users give.
GRAPH = "graph"
ARTIFACT = "model.tflite"
EXAMPLE_MODEL = "digits.keras"
EXAMPLE_DATA = "digits.npz"
# Steps that are written out for a recurrent layer unless its user asks for more: each is some ten operators and 2 to 14
# kB of an int8 file, and a conversion of 300 takes half a minute.
MOST_STEPS = 256
# The folders that the splits are written to.
CALIBRATION = "calibration"
EVALUATION = "evaluation"
LEARNING = "learning"
VALIDATION = "validation"
# Where each sample to learn from was in the train split as it was given.
LEARNING_ROWS = "learning_rows.npy"


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
        kind: "file", "folder" or "callable", or GRAPH for NETWORK of a pass.
        input_shape: without the batch, for a network that leaves dimensions open; empty for its own.
        input_shapes: likewise by the names of inputs.
        data_shapes: of the samples that were given, by input, "" for the one of a network with one input.
        signature: of a SavedModel; empty for its only one, or its default.
        allow_code: whether Python code stored in the file may run.
        recurrent: how layers that step through a sequence are written.
    """

    kind: str
    path: str
    input_shape: tuple[int, ...]
    signature: str
    allow_code: bool
    out: str
    recurrent: Recurrent = Recurrent.AUTO
    input_shapes: dict[str, tuple[int, ...]] = {}
    data_shapes: dict[str, tuple[int, ...]] = {}


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that steps through a sequence, and how many steps it has; 0 where that is not known."""

    layer: str
    steps: int


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The network as seen from outside.

    Attributes:
        batched: whether it also takes many samples at a time.
        identity_sha256: of all that decides what it computes: the traced graph, the weights, captured constants.
        notes: what was changed to load it.
        unrolled: the loops whose steps are written out one after another.
        fused: those that become one operator.
        loops: those that stay loops of a graph, which the converter does not quantize.
        recurrent: as the job asked.
    """

    network: ModelSpec
    batched: bool
    identity_sha256: str
    notes: tuple[str, ...] = ()
    unrolled: tuple[Loop, ...] = ()
    fused: tuple[Loop, ...] = ()
    loops: tuple[Loop, ...] = ()
    recurrent: Recurrent = Recurrent.AUTO


class SplitJob(msgspec.Struct, frozen=True, kw_only=True):
    """Read data, hold them against the network's inputs, and write each split as a folder of its name."""

    kind: str
    path: str
    inputs: tuple[TensorSpec, ...]
    split: Split
    out: str


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


class SynthesizeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Make up calibration samples for the network in a file; answered with Splits that hold nothing else."""

    network: str
    samples: int
    preprocess: Preprocess
    seed: int
    out: str


class BaselineJob(msgspec.Struct, frozen=True, kw_only=True):
    """Settle the metric, score the float network on a split, and keep its outputs in `out` (see data.outputs).

    `labels` are names of the classes, if there are such.
    """

    saved_model: str
    network: ModelSpec
    batched: bool
    evaluation: str
    preprocess: Preprocess
    metric: Metric
    out: str
    most: int = 0
    labels: tuple[str, ...] = ()


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The float network's score by the metric that was settled, and others that say more, by their names."""

    score: float
    samples: int
    metric: Metric = Metric(name=AUTO)
    further: dict[str, float] = {}


class LintJob(msgspec.Struct, frozen=True, kw_only=True):
    """Look for faults in the data.

    Attributes:
        data: the folder of the splits.
        splits: those there are and of use, by the names of their folders.
        labels: names of the classes.
        baseline: the float network's accuracy; None where it was not scored, or by another metric.
        is_int8: whether activations are quantized to 8 bits.
    """

    saved_model: str
    network: ModelSpec
    batched: bool
    data: str
    splits: tuple[str, ...]
    preprocess: Preprocess
    metric: Metric
    labels: tuple[str, ...]
    baseline: Baseline | None
    is_int8: bool = False


class Linted(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    findings: tuple[Finding, ...]


class QuantizeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Convert to ARTIFACT; `calibration` is a split's folder, or empty where the scheme needs none.

    `sliced` are operators that the target does not run, and that get slices in their place.
    """

    saved_model: str
    calibration: str
    preprocess: Preprocess
    quantize: Quantize
    network: ModelSpec
    out: str
    sliced: tuple[str, ...] = ()


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact is there and was read back."""

    artifact: ArtifactSpec


class CarryJob(FreezeJob, frozen=True, kw_only=True):
    """Load a network with its layers and write it as NETWORK, a graph that passes can change."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """A network that passes can change, with nested networks taken apart.

    Attributes:
        identity_sha256: of its structure and its weights.
        layers: its layers by name; "conv/gelu" does a part of what conv did.
    """

    identity_sha256: str
    parameters: int
    layers: tuple[str, ...]
    notes: tuple[str, ...]


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """The original network's score on so many evaluation samples."""

    score: float
    samples: int


class LessonJob(msgspec.Struct, frozen=True, kw_only=True):
    """What trainings learn from.

    Attributes:
        data: the folder of the splits.
        given_samples: in the train split as it was given.
        validation_samples: that were given to choose by; 0 to keep a share of train for that.
        time_s: that this pass may train for.
        allow_code: whether Python code stored in a teacher's file may run.
        unseen: how the original does on samples that it did not learn; None where that is not known.
        max_drop: how much of the score a pass may cost: points of a share, else a share of the original's.
    """

    data: str
    given_samples: int
    preprocess: Preprocess
    metric: Metric
    train: TrainSettings
    distill: DistillSettings
    seed: int
    time_s: float
    allow_code: bool
    unseen: Unseen | None = None
    max_drop: float = 0.01
    validation_samples: int = 0


class LayersJob(msgspec.Struct, frozen=True, kw_only=True):
    """List the shapes to measure for ranking channels by latency."""

    network: str
    multiple: int


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """For each layer that can be timed the shapes that it may get."""

    grids: tuple[tuple[LayerShape, tuple[LayerShape, ...]], ...]


class CompressJob(msgspec.Struct, frozen=True, kw_only=True):
    """Do one pass on a network.

    Attributes:
        settings: the pass.
        network: the file to change.
        original: the file of the network before all compression.
        lesson: None where there are no train data.
        calibration: the folder of the calibration split; empty where there is none.
        preprocess: what is done to samples.
        latencies: measured times of the network's layers, for Cost.LATENCY.
        float_layers: layers that calibration leaves to float.
        seed: of what is drawn beside training.
        recurrent: how layers that step through a sequence are written, where a pass writes a SavedModel.
    """

    settings: Pass
    network: str
    original: str
    lesson: LessonJob | None
    calibration: str
    preprocess: Preprocess
    latencies: LatencyTable | None
    float_layers: tuple[str, ...]
    seed: int
    out: str
    recurrent: Recurrent = Recurrent.AUTO


class Compressed(msgspec.Struct, frozen=True, kw_only=True):
    """A pass was done, and NETWORK written (by quantization-aware training SAVED_MODEL).

    Attributes:
        notes: what was done, and what was left alone and why.
        frozen: what the SavedModel is, where the pass wrote one.
        instead: the layers that do now what a layer did, by its name: for those of which that is not itself alone.
    """

    identity_sha256: str
    parameters: int
    notes: tuple[str, ...]
    frozen: Frozen | None = None
    instead: dict[str, tuple[str, ...]] = {}
