"""Settings: what edgebuild.toml, the environment and the options say, merged and read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from edgebuild.core.delivery import About
from edgebuild.units import parse_bytes, parse_number, parse_part, parse_seconds, parse_some

Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of edgebuild.toml."""


# The metric that labels choose, and what scores outputs against the network's own input.
AUTO, LABELS, INPUT = "auto", "labels", "input"
# Before the name of a Keras metric.
KERAS = "keras:"


class MetricKind(StrEnum):
    """The scores that are built in; anything else is a Keras metric or a module:callable."""

    ACCURACY = "accuracy"
    TOP_K = "top-k"
    AUC = "auc"
    MIOU = "miou"
    IOU = "iou"
    MSE = "mse"
    MAE = "mae"
    RMSE = "rmse"
    R2 = "r2"


class ReportFormat(StrEnum):
    """The report formats that are built in; others come from plug-ins."""

    TEXT = "text"
    CARD = "card"
    JSON = "json"


class MetricSettings(_Table, frozen=True, kw_only=True):
    """`[metric]`: how an artifact is scored on the evaluation split.

    Attributes:
        name: AUTO to choose by the labels, a MetricKind, "keras:CLASS", or "module:callable" taking (outputs, y) arrays
            and returning a number.
        k: how many predictions count, for top-k.
        output: which output of the network is scored, by name or by position; empty for the first that labels fit.
        lower_is_better: the direction of a callable's score; the built-in ones know theirs.
        target: LABELS, or INPUT to compare outputs with the network's own input.
        threshold: above which an output means yes; AUTO for 0.5 of probabilities and 0 of logits.
        ignore: the label that is neither scored nor learnt from; AUTO for 255 or -1 beside class numbers of maps.
        options: of a Keras metric: its arguments.
    """

    name: str
    k: AtLeastOne
    output: Count | str
    lower_is_better: bool
    target: str
    threshold: float | str
    ignore: float | str
    options: dict[str, object]


class InputKind(StrEnum):
    """What the metadata say of the inputs: AUTO for images where the shape is one's, else features."""

    AUTO = "auto"
    IMAGE = "image"
    AUDIO = "audio"
    FEATURES = "features"


class ModelSettings(_Table, frozen=True, kw_only=True):
    """`[model]`: `path` is a file, a folder or a module:callable; empty for the embedded example.

    Attributes:
        name: of the artifact; empty for the model's own.
        input_shape: without the batch, for a network with one input that leaves dimensions open; empty for its own.
        input_shapes: likewise by the names of inputs.
        signature: of a SavedModel; empty for the default or the only one.
        allow_code: whether Python code stored in the model's file may run.
        input_kind: what the metadata say of the inputs.
        sample_rate: of sound, in Hz, for the metadata; 0 where it is not known.
    """

    path: str
    name: str
    input_shape: tuple[int, ...]
    input_shapes: dict[str, tuple[int, ...]]
    signature: str
    allow_code: bool
    input_kind: InputKind = InputKind.AUTO
    sample_rate: Count = 0


class DataSettings(_Table, frozen=True, kw_only=True):
    """`[data]`: `path` is a .npz, a .csv, a folder of images by class or a module:callable; empty for none.

    Attributes:
        calibration_samples: how many are drawn from the train split where no calibration split is given.
        evaluation_share: the share drawn for evaluation where no evaluation split is given.
        synthesize: whether inputs for calibration are made up where there are no data at all.
        seed: of every drawing, of what is made up and of training.
        labels: names of the classes in the order of the network's outputs; empty for the order that the data have.
        label_column: of a CSV file, by name or by number from 0; empty for one that is called like one, else the last.
    """

    path: str
    calibration_samples: AtLeastOne
    evaluation_share: Annotated[float, parse_part]
    synthesize: bool
    seed: Count
    label_column: int | str = ""
    labels: tuple[str, ...] = ()


class Preprocess(_Table, frozen=True, kw_only=True):
    """`[preprocess]`: the network is fed (x - mean) * scale; a list has one entry for each channel (last axis)."""

    scale: Annotated[float, parse_number] | tuple[float, ...]
    mean: Annotated[float, parse_number] | tuple[float, ...]

    @property
    def is_identity(self) -> bool:
        """Whether it leaves the data as they are."""
        return self.scale == 1.0 and self.mean == 0.0


class BuildSettings(_Table, frozen=True, kw_only=True):
    """`[build]`: the targets by name or by path of a TOML file, and the folder that artifacts are left in.

    Attributes:
        compress: whether the profiles' pruning, sharing and training are done.
        refine: whether their equalization and calibration for int8 are.
        vet: whether the refined artifact gives way to the plain conversion where train samples say that it is worse.
        repair: whether more is tried where the accuracy budget is missed.
        jobs: how many actions are done at a time; 0 for one on each core, as far as memory lasts.
        cluster: the Ray cluster that does actions too: "auto", "ray://HOST:PORT" or "local"; empty for none.
        reports: formats that are written beside the manifest: a ReportFormat, or of a plug-in.
    """

    targets: tuple[str, ...]
    out: str
    compress: bool
    refine: bool
    vet: bool
    repair: bool
    measure_again: bool
    jobs: Count = 0
    cluster: str = ""
    reports: tuple[str, ...] = ()


class BenchSettings(_Table, frozen=True, kw_only=True):
    """`[bench]`: where and how artifacts are measured.

    Attributes:
        on: the places, as `core.place` reads them; those that budgets name are added. AUTO is this host, but for a
            target whose costs no host has.
        baseline: what artifacts are held against: a manifest, a folder, or a git ref; empty for nothing.
        baseline_required: whether a verdict without it is inconclusive rather than a warning.
        time: seconds that one artifact at one place may take, or a pair that is compared; at least a block is run.
        precision: the measurement ends once half the 95 % interval of the median is at most this share of it.
        runs: at most so many inferences are timed.
        workers: fresh processes among which they are divided: where memory lies differs from one to the next.
        threads: of the interpreter.
        pin: whether processes are held on one core where the system allows it.
    """

    on: tuple[str, ...]
    baseline: str
    time: Annotated[float, parse_seconds]
    precision: Annotated[float, parse_some]
    runs: AtLeastOne
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)]
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)]
    pin: bool
    baseline_required: bool = False


class TrainSettings(_Table, frozen=True, kw_only=True):
    """`[train]`: how the passes that learn are trained.

    Attributes:
        time: for all training of one target, in seconds, with all that is measured and cut on the way.
        epochs: of each training, which `time` only ends; 0 for as many steps as there is time for at the speed that is
            measured, up to 60 epochs.
        batch_size: samples an optimizer step sees.
        learning_rate: Adam's highest; it rises for a twentieth of the steps and falls along a cosine.
        validation_share: of the train split, kept for choosing the best epoch; never evaluated on, never trained on.
        patience: epochs of the second half without a better validation loss after which training ends; 0 for never.
        augment: "module:callable" of (x, rng), which returns a changed batch of the first input; empty for none.
    """

    time: Annotated[float, parse_seconds]
    epochs: Count
    batch_size: AtLeastOne
    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    validation_share: Annotated[float, parse_part]
    patience: Count
    augment: str


Weight = Annotated[float, msgspec.Meta(ge=0)]


class TeacherSettings(_Table, frozen=True, kw_only=True):
    """One of `[[distill.teachers]]`.

    Attributes:
        network: a .keras or .h5 file, a SavedModel folder, "module:callable" that returns a Keras model or a function
            of a batch (an array for each input in, outputs out), or a .npy file of outputs for x_train, in its order.
        weight: relative to the other teachers'.
    """

    network: str
    weight: Weight = 1.0


class DistillSettings(_Table, frozen=True, kw_only=True):
    """`[distill]`: what a student learns from; a weight of 0 leaves a part out.

    Attributes:
        soft: weight of the teachers' softened answers (temperature, Kullback-Leibler).
        hard: weight of y_train; where there is none, only the teachers count.
        temperature: that softens the answers.
        feature: weight of the mean square difference of paired layers' outputs.
        attention: weight of the difference of paired layers' spatial attention maps.
        relation: weight of the difference of the distances between samples, as paired layers see them.
        pairs: [teacher's layer, student's layer]; empty for layers of the same name, at most four.
        original: weight of the network before compression as a teacher.
        teachers: further ones.
    """

    soft: Weight
    hard: Weight
    temperature: Annotated[float, msgspec.Meta(gt=0)]
    feature: Weight
    attention: Weight
    relation: Weight
    pairs: tuple[tuple[str, str], ...]
    original: Weight
    teachers: tuple[TeacherSettings, ...]


class LintSettings(_Table, frozen=True, kw_only=True):
    """`[lint]`: what becomes of findings about the data, by their codes (`core.finding.Code`).

    Attributes:
        ignore: those that are left out.
        allow: those with which a build goes on where they would end it.
    """

    ignore: tuple[str, ...]
    allow: tuple[str, ...] = ()


class LimitSettings(_Table, frozen=True, kw_only=True):
    """`[limits]`: what one step may take; `run_*` are for a child that interprets an artifact. Bytes and seconds."""

    step_time: Annotated[float, parse_seconds]
    step_memory: Annotated[int, parse_bytes]
    run_time: Annotated[float, parse_seconds]
    run_memory: Annotated[int, parse_bytes]


class Settings(_Table, frozen=True, kw_only=True):
    """Everything a build is asked for.

    `passes`, `budgets`, `delivery` and `targets` are as written, laid over profiles later.
    """

    model: ModelSettings
    data: DataSettings
    preprocess: Preprocess
    metric: MetricSettings
    build: BuildSettings
    train: TrainSettings
    distill: DistillSettings
    bench: BenchSettings
    lint: LintSettings
    limits: LimitSettings
    about: About
    passes: dict[str, object]
    budgets: dict[str, object]
    delivery: dict[str, object]
    targets: dict[str, dict[str, object]]
