"""What a runtime can be asked for, and what it answers."""

from __future__ import annotations

import msgspec

from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import BenchSettings, Metric, Preprocess
from edgebuild.core.target import Kernels


class BenchJob(msgspec.Struct, frozen=True, kw_only=True):
    """Time single inferences, and weigh the memory they take."""

    artifact: str
    kernels: Kernels
    bench: BenchSettings


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Raw times of single inferences in order, and how far loading and running raised the process's peak memory."""

    samples_s: tuple[float, ...]
    peak_memory_bytes: int


class ScoreJob(msgspec.Struct, frozen=True, kw_only=True):
    """Score an artifact on the evaluation split; `spec` has inputs and outputs in the network's order."""

    artifact: str
    spec: ArtifactSpec
    kernels: Kernels
    evaluation: str
    preprocess: Preprocess
    metric: Metric


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact's score."""

    score: float
    samples: int
