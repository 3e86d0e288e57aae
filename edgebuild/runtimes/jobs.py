"""What a runtime can be asked for, and what it answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgebuild.core.layers import LayerShape
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import AtLeastOne, BenchSettings, Metric, Preprocess
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


class LayerTimesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Time layers, each alone. `layer_s` is how long each is run in all; slow ones take what a few runs take."""

    layers: tuple[LayerShape, ...]
    kernels: Kernels
    threads: AtLeastOne = 1
    layer_s: Annotated[float, msgspec.Meta(gt=0)] = 0.03


class LayerTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What each layer adds to a network's latency, in the order of the job; at least a nanosecond, rounded to one.

    `invocation_s` is what an inference takes beside its layers; it is not in `times_s`.
    """

    times_s: tuple[float, ...]
    invocation_s: float
