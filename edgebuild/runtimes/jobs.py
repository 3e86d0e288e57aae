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
    """Score an artifact on the evaluation split, and keep its outputs in `out` (see data.outputs).

    `spec` has inputs and outputs in the network's order.
    """

    artifact: str
    spec: ArtifactSpec
    kernels: Kernels
    evaluation: str
    preprocess: Preprocess
    metric: Metric
    out: str


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact's score."""

    score: float
    samples: int


class OutputLossJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold outputs against the float network's; `baseline` and `artifact` are folders where scoring kept them."""

    baseline: str
    artifact: str
    evaluation: str
    preprocess: Preprocess
    metric: Metric


class LayerLossJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what each operator writes against the float network.

    Attributes:
        artifact: the file.
        spec: what was read back from it, with inputs and outputs in the network's order.
        reference: the float network as a float32 .tflite file: of the same layers, without nodes that quantize.
        reference_spec: what was read back from that, its ends in the same order.
        layers: the names of the network's layers.
        kernels: that run the artifact.
        samples: the folder of the split that samples are taken from.
        split: its name.
        most_samples: how many are run; fewer of large networks.
    """

    artifact: str
    spec: ArtifactSpec
    reference: str
    reference_spec: ArtifactSpec
    layers: tuple[str, ...]
    kernels: Kernels
    samples: str
    split: str
    preprocess: Preprocess
    most_samples: AtLeastOne = 32


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
