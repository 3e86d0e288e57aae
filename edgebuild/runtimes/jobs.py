"""What a runtime can be asked for, and what it answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgebuild.core.delivery import Keep, Leaner
from edgebuild.core.layers import LayerShape
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import AtLeastOne, BenchSettings, Count, Metric, Preprocess
from edgebuild.core.target import Interpreter, Kernels


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


class DelegationJob(msgspec.Struct, frozen=True, kw_only=True):
    """Tell which operators of an artifact the delegate takes."""

    artifact: str


class OutputsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run an artifact on samples and keep all its outputs, as they are stored, in the folder `out`.

    Attributes:
        spec: what was read back from the artifact, with inputs and outputs in the network's order.
        samples: the folder of a split.
        most_samples: how many are run, evenly spread; fewer of large networks, the same for every kernel family.
    """

    artifact: str
    spec: ArtifactSpec
    kernels: Kernels
    samples: str
    preprocess: Preprocess
    out: str
    most_samples: AtLeastOne = 256


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples were run."""

    samples: int


class ParityJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold two runs of one artifact against each other.

    Attributes:
        spec: as in both OutputsJob.
        kernels: the families of the two runs.
        outputs: the folders where they kept their outputs.
        scored_output: the position of the output that answers are read from.
    """

    spec: ArtifactSpec
    kernels: tuple[Kernels, Kernels]
    outputs: tuple[str, str]
    scored_output: Count = 0


class LeanJob(msgspec.Struct, frozen=True, kw_only=True):
    """Make a file lean.

    Attributes:
        artifact: the .tflite file.
        out: where the lean one is written.
        keep: what it keeps.
        kernels: the families of LiteRT on which it is compared; the file has to load there.
        runtime: of the target. For TFLM the arena is made lean as well; where its wheel is installed the file is
            compared on it too, and the arena measured.
    """

    artifact: str
    out: str
    keep: Keep
    kernels: tuple[Kernels, ...]
    runtime: Interpreter


class Leaned(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file.

    Attributes:
        before: bytes of the given file by what they are for, see Inspection.
        after: those of the file in `out`.
        tensors: the names in the given file of what the operators of that in `out` write first, in their order.
        reordered: whether its operators have another order.
        planned: whether it has an offline plan for TFLM.
    """

    leaner: Leaner
    before: dict[str, int]
    after: dict[str, int]
    tensors: tuple[str, ...]
    reordered: bool = False
    planned: bool = False


class EdgeTpuJob(msgspec.Struct, frozen=True, kw_only=True):
    """Compile an artifact for the Edge TPU into the folder `out`; `memory_bytes` is what the compiler may take."""

    artifact: str
    out: str
    memory_bytes: Count = 0


class EdgeTpuRulesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Tell what the Edge TPU compiler will map; `memory_bytes` is the chip's for parameters, None for the usual."""

    artifact: str
    memory_bytes: Count | None = None


class EthosUJob(msgspec.Struct, frozen=True, kw_only=True):
    """Compile an artifact for an Ethos-U into the folder `out`.

    Attributes:
        artifact: an int8 or int16x8 .tflite file.
        accelerator: Vela's name of the NPU with its multiply-accumulates a cycle ("ethos-u55-128").
        system_config: Vela's name for the clock and the memories, of those it brings; empty for its default.
        memory_mode: Vela's name for what is kept in which memory; empty for its default.
        memory_bytes: what Vela may take; 0 for no limit.
    """

    artifact: str
    accelerator: str
    out: str
    system_config: str = ""
    memory_mode: str = ""
    memory_bytes: Count = 0
