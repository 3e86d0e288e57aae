"""Budgets: the promises that gate a release."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Subject(StrEnum):
    """What a budget limits, and under which name its measurement is recorded.

    `latency` is of an inference after warm-up, `first_inference` of the first after loading, `load` of loading itself;
    `instructions` and `energy` are of one inference.
    `arena` is TensorFlow Lite Micro's, `flash` model and constants as linked; of `npu_*` the accelerator's compiler
    tells: the share of operators that it takes, the time of an inference (estimated), and on-chip memory.
    """

    SIZE = "size"
    GZIP_SIZE = "gzip_size"
    ACCURACY = "accuracy"
    ACCURACY_DROP = "accuracy_drop"
    LATENCY = "latency"
    FIRST_INFERENCE = "first_inference"
    LOAD = "load"
    INSTRUCTIONS = "instructions"
    ENERGY = "energy"
    PEAK_MEMORY = "peak_memory"
    ACTIVATIONS = "activations"
    ARENA = "arena"
    FLASH = "flash"
    NPU_SHARE = "npu_share"
    NPU_LATENCY = "npu_latency"
    NPU_SRAM = "npu_sram"

    @property
    def unit(self) -> Unit:
        """The unit its figures have, where the metric does not say otherwise."""
        return UNITS[self]


class Unit(StrEnum):
    """Units of recorded figures.

    `share` is a fraction of one, `relative` one of the float network's score, `number` is in the data's own unit.
    """

    BYTES = "bytes"
    SECONDS = "s"
    SHARE = "share"
    RELATIVE = "relative"
    NUMBER = "number"
    COUNT = "count"
    JOULES = "J"


# What comes of scoring, for which samples with answers are needed.
SCORES = (Subject.ACCURACY, Subject.ACCURACY_DROP)
# What a process on a device takes, and no other device does.
COSTS = (Subject.LATENCY, Subject.FIRST_INFERENCE, Subject.LOAD, Subject.ENERGY, Subject.PEAK_MEMORY)
# What an accelerator's compiler tells.
OF_NPU = (Subject.NPU_SHARE, Subject.NPU_LATENCY, Subject.NPU_SRAM)

UNITS = {
    Subject.SIZE: Unit.BYTES,
    Subject.GZIP_SIZE: Unit.BYTES,
    Subject.ACCURACY: Unit.SHARE,
    Subject.ACCURACY_DROP: Unit.SHARE,
    Subject.LATENCY: Unit.SECONDS,
    Subject.FIRST_INFERENCE: Unit.SECONDS,
    Subject.LOAD: Unit.SECONDS,
    Subject.INSTRUCTIONS: Unit.COUNT,
    Subject.ENERGY: Unit.JOULES,
    Subject.PEAK_MEMORY: Unit.BYTES,
    Subject.ACTIVATIONS: Unit.BYTES,
    Subject.ARENA: Unit.BYTES,
    Subject.FLASH: Unit.BYTES,
    Subject.NPU_SHARE: Unit.SHARE,
    Subject.NPU_LATENCY: Unit.SECONDS,
    Subject.NPU_SRAM: Unit.BYTES,
}


class Level(StrEnum):
    """What a broken budget does: end the release, or be said."""

    ERROR = "error"
    WARN = "warn"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """One limit on one subject.

    Attributes:
        limit: the largest value allowed, or the smallest (see is_minimum), in `unit`.
        headroom: the share of the limit that should stay free; a kept limit with less left is a warning.
        on: the place that the figure must come from, for subjects that depend on one.
        on_is_assumed: whether no place was named, and `on` is the usual one of the subject.
        at: the statistic that is limited, for subjects with samples: "median", "p90" or "p99".
        confidence: with which an accuracy drop is to be within the limit also on other samples of the same kind; 0
            where the evaluation split itself is judged.
        of_baseline: whether `limit` is a change against the baseline, as a share of its figure (0.05 for "+5 %");
            `unit` is then Unit.RELATIVE.
        binary: whether the limit was written in KiB, MiB or GiB, and so is shown.
        origin: who asked for it: a profile's file, edgebuild.toml, an option.
    """

    subject: Subject
    limit: float
    unit: Unit
    level: Level = Level.ERROR
    headroom: float = 0.0
    on: str | None = None
    on_is_assumed: bool = False
    at: str = "median"
    confidence: float = 0.0
    of_baseline: bool = False
    binary: bool = False
    origin: str = ""

    def is_minimum(self, *, lower_is_better: bool) -> bool:
        """Whether the limit is the smallest value allowed; `lower_is_better` is the direction of the metric."""
        return self.subject == Subject.NPU_SHARE or (self.subject == Subject.ACCURACY and not lower_is_better)
