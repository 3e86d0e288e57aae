"""Plan: what will be done for one target. Pure data; `--dry-run` prints it and the manifest keeps it."""

from __future__ import annotations

import msgspec

from edgebuild.core.budget import Budget
from edgebuild.core.delivery import About, Delivery
from edgebuild.core.metric import Metric
from edgebuild.core.passes import Change, Compression, Pass, Quantize, Refinement
from edgebuild.core.plugin import Plugin
from edgebuild.core.settings import BenchSettings, DistillSettings, InputKind, Preprocess, TrainSettings
from edgebuild.core.target import Accelerator, Operators, Runtime, has_costs_of_its_own


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a network or its data come from.

    Attributes:
        kind: "file", "folder", "callable", "example", or "imported" for what the importer of a plug-in takes.
        path: as the user wrote it.
        sha256: of the contents; empty for a callable, whose result is hashed as the build runs.
        shapes: of the samples in a .npz by input, "" for the one of a network with one input.
        plugin: the importer; None for what edgebuild reads itself.
    """

    kind: str
    path: str
    sha256: str
    shapes: dict[str, tuple[int, ...]] = {}
    plugin: Plugin | None = None


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How the data are divided where the user did not do so; `label_column` and `labels` as in DataSettings."""

    calibration_samples: int
    evaluation_share: float
    seed: int
    label_column: int | str = ""
    labels: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The ordered passes for one target, with everything that decides their result.

    `learns_from` are the files and functions beside the data that training depends on: teachers, students,
    augmentation, a metric of the user's own. `synthetic_samples` are made up for calibration, for lack of data.
    `ignores` are codes of findings about the data that are left out, `allows` those that end no build. `board` is the
    device that the profile is of; empty for one of a whole class of devices. `input_kind` and `sample_rate` (Hz, 0 for
    unknown) are what metadata say of the inputs.
    """

    target: str
    name: str
    model: Source
    data: Source | None
    input_shape: tuple[int, ...]
    input_shapes: dict[str, tuple[int, ...]] = {}
    signature: str
    allow_code: bool
    preprocess: Preprocess
    input_kind: InputKind = InputKind.AUTO
    sample_rate: int = 0
    split: Split
    passes: tuple[Pass, ...]
    train: TrainSettings
    distill: DistillSettings
    learns_from: tuple[Source, ...]
    synthetic_samples: int = 0
    ignores: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()
    runtime: Runtime
    operators: Operators
    board: str = ""
    accelerator: Accelerator | None = None
    delivery: Delivery = Delivery()
    about: About = About(description="", author="", version="", license="")
    metric: Metric
    bench: BenchSettings
    budgets: tuple[Budget, ...]

    @property
    def quantize(self) -> Quantize:
        """The pass that makes the artifact; every plan has one."""
        return next(step for step in self.passes if isinstance(step, Quantize))

    @property
    def has_costs_of_its_own(self) -> bool:
        """Whether a latency on this host is none of the target's."""
        return has_costs_of_its_own(self.runtime, self.accelerator, self.board)

    @property
    def compressions(self) -> tuple[Compression, ...]:
        """What makes the network smaller or cheaper before it is quantized, in order."""
        return tuple(step for step in self.changes if not step.refines)  # type: ignore[misc] # mypy takes no word of it

    @property
    def refinements(self) -> tuple[Refinement, ...]:
        """What is done for the accuracy of int8 or int16x8, in order."""
        return tuple(step for step in self.changes if step.refines)  # type: ignore[misc] # likewise

    @property
    def changes(self) -> tuple[Change, ...]:
        """Both, in the order in which they are done: all that comes before quantization."""
        return tuple(step for step in self.passes if not isinstance(step, Quantize))

    @property
    def brings_ranges(self) -> bool:
        """Whether the network is trained for int8 or has clusters, and so brings its ranges to the converter."""
        return any(step.brings_ranges for step in self.passes)

    @property
    def is_aware(self) -> bool:
        """Whether the network is trained for int8."""
        return any(step.trains_for_int8 for step in self.passes)
