"""What a runtime can be asked for, and what it answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgebuild.core.budget import Subject
from edgebuild.core.comparison import Interval
from edgebuild.core.delivery import Keep, Leaner
from edgebuild.core.layers import LayerShape
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.place import Place
from edgebuild.core.settings import AtLeastOne, BenchSettings, Count, Preprocess
from edgebuild.core.target import Interpreter, Kernels


class MeasureJob(msgspec.Struct, frozen=True, kw_only=True):
    """Measure an artifact at a place, with a baseline in turn where there is one.

    Attributes:
        artifact: the .tflite file.
        baseline: that of the baseline; empty for none.
        kernels: where the place does not insist on others.
        decide_at: limits that the median is to be told from as far as there is time; with a baseline, limits on the
            ratio of medians.
        time_s: what one request to a worker may take.
        memory_bytes: what the process of a worker may take, where the place can hold it to that.
    """

    artifact: str
    baseline: str = ""
    place: Place
    kernels: Kernels
    bench: BenchSettings
    decide_at: tuple[float, ...] = ()
    time_s: float
    memory_bytes: int


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one artifact; costs in the place's unit, seconds or instructions.

    Attributes:
        subject: what the samples are: latency or instructions.
        machine, kernels, versions: as `places.protocol.Loaded` has them.
        blocks: raw samples by block, in order.
        processes: how many blocks each fresh process ran, in order.
        statistics: "median", "p90", "p99", "min" and "max" of the samples.
        intervals: 95 % intervals of "median", "p90" and "p99".
        load: of each process.
        first: the first inference of each process.
        peak_memory_bytes: of each process.
        energy_j: of one inference; None where the device is silent.
        conditions: what disturbed the measurement, for people.
    """

    subject: Subject
    machine: str
    kernels: str
    versions: dict[str, str]
    blocks: tuple[tuple[float, ...], ...]
    processes: tuple[int, ...]
    statistics: dict[str, float]
    intervals: dict[str, Interval]
    load: tuple[float, ...] = ()
    first: tuple[float, ...] = ()
    peak_memory_bytes: tuple[int, ...] = ()
    energy_j: float | None = None
    conditions: tuple[str, ...] = ()


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact's cost over its baseline's, with the 95 % interval and the name of the test that it comes from."""

    ratio: float
    interval: Interval
    test: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of an artifact, and where there is a baseline of that and the ratios, by statistic ("median"...).

    `lacking` is why a baseline that was asked for was not measured; empty where it was.
    """

    artifact: Timing
    baseline: Timing | None = None
    ratios: dict[str, Ratio] = {}
    lacking: str = ""


class RunsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Load an artifact and run it once on random inputs; TensorFlow Lite Micro has no choice of kernels."""

    artifact: str
    kernels: Kernels = Kernels.REFERENCE


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """It did."""


class ScoreJob(msgspec.Struct, frozen=True, kw_only=True):
    """Score an artifact on a split, and keep its outputs in `out` (see data.outputs).

    `spec` has inputs and outputs in the network's order; `samples` is the folder of the split, of which no more than
    `most` are run, evenly spread (0: all). `resets`: whether the artifact's state is reset before each sample;
    otherwise it is carried over as an app or firmware that only invokes the interpreter carries it.
    """

    artifact: str
    spec: ArtifactSpec
    kernels: Kernels
    samples: str
    preprocess: Preprocess
    metric: Metric
    out: str
    most: int = 0
    resets: bool = False


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact's score, and others that say more, by their names."""

    score: float
    samples: int
    further: dict[str, float] = {}


class OutputLossJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold outputs against another network's; `baseline` and `artifact` are folders where scoring kept them.

    `samples` and `most` are what both were scored on, as in ScoreJob.
    """

    baseline: str
    artifact: str
    samples: str
    preprocess: Preprocess
    metric: Metric
    most: int = 0


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
        output: the number of the network's output that is scored.
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
    output: int
    most_samples: AtLeastOne


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


class At(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job is to be done, and its limits: seconds that one request may take, bytes of the process."""

    place: Place
    time_s: float
    memory_bytes: int


class ScoreAtJob(msgspec.Struct, frozen=True, kw_only=True):
    """Score an artifact at a place."""

    at: At
    score: ScoreJob


class OutputsAtJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run an artifact on samples at a place."""

    at: At
    outputs: OutputsJob


class ParityJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold two runs of one artifact against each other.

    Attributes:
        spec: as in both OutputsJob.
        kernels: what the two ran on: kernel families, or places.
        outputs: the folders where they kept their outputs.
        scored_output: the position of the output that predictions are read from.
        metric: tells how they are read; None for the largest value along the last axis.
    """

    spec: ArtifactSpec
    kernels: tuple[str, str]
    outputs: tuple[str, str]
    scored_output: Count = 0
    metric: Metric | None = None


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
        tensors: what each operator writes first, in their order, where the file has no names; empty for its own.
    """

    artifact: str
    accelerator: str
    out: str
    tensors: tuple[str, ...] = ()
    system_config: str = ""
    memory_mode: str = ""
    memory_bytes: Count = 0
