"""Fidelity: outputs and layers of an artifact compared with the float network's, or on other kernels."""

from __future__ import annotations

import msgspec

from edgebuild.actions.scores import At, on_device
from edgebuild.actions.tools import DATA_PACKAGES, INTERPRETER, LITERT_PACKAGES
from edgebuild.core.action import File, Kind, Out
from edgebuild.core.device import Parity
from edgebuild.core.losses import LayerLosses, OutputLoss
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import AtLeastOne, Count, Preprocess
from edgebuild.core.target import Kernels


class OutputLossJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold outputs against another network's; `baseline` and `artifact` are folders where scoring kept them.

    `samples` and `most` are what both were scored on, as in ScoreJob.
    """

    baseline: File
    artifact: File
    samples: File
    preprocess: Preprocess
    metric: Metric
    most: int = 0


OUTPUT_LOSS = Kind(
    name="output-loss",
    settings=OutputLossJob,
    result=OutputLoss,
    run="edgebuild.runtimes.output_loss:output_loss",
    tool=INTERPRETER,
    title=lambda _: "compare predictions with the float network's",
    packages=DATA_PACKAGES,
    is_known=lambda job: job.metric.is_known,
)


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

    artifact: File
    spec: ArtifactSpec
    reference: File
    reference_spec: ArtifactSpec
    layers: tuple[str, ...]
    kernels: Kernels
    samples: File
    split: str
    preprocess: Preprocess
    output: int
    most_samples: AtLeastOne


LAYER_LOSS = Kind(
    name="layer-loss",
    settings=LayerLossJob,
    result=LayerLosses,
    run="edgebuild.runtimes.layer_loss:layer_loss",
    tool=INTERPRETER,
    title=lambda _: "compare layers with the float network's",
    packages=LITERT_PACKAGES,
    of_host=True,
)


class OutputsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run an artifact on samples and keep all its outputs, as they are stored, in the folder `out`.

    Attributes:
        spec: what was read back from the artifact, with inputs and outputs in the network's order.
        samples: the folder of a split.
        most_samples: how many are run, evenly spread; fewer of large networks, the same for every kernel family.
    """

    artifact: File
    spec: ArtifactSpec
    kernels: Kernels
    samples: File
    preprocess: Preprocess
    out: Out = ""
    most_samples: AtLeastOne = 256


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples were run."""

    samples: int


OUTPUTS = Kind(
    name="outputs",
    settings=OutputsJob,
    result=Outputs,
    run="edgebuild.runtimes.parity:outputs",
    tool=INTERPRETER,
    title=lambda job: f"run samples on {job.kernels} kernels",
    packages=LITERT_PACKAGES,
    of_host=True,
)


class OutputsAtJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run an artifact on samples at a place."""

    at: At
    outputs: OutputsJob


OUTPUTS_AT = Kind(
    name="outputs-at",
    settings=OutputsAtJob,
    result=Outputs,
    run="edgebuild.runtimes.places.scoring:outputs",
    tool=INTERPRETER,
    title=lambda job: f"run samples on {job.at.place.label}",
    packages=LITERT_PACKAGES,
    of_host=True,
    takes=lambda job: on_device(job.at.place),
)


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
    outputs: tuple[File, File]
    scored_output: Count = 0
    metric: Metric | None = None


PARITY = Kind(
    name="parity",
    settings=ParityJob,
    result=Parity,
    run="edgebuild.runtimes.parity:parity",
    tool=INTERPRETER,
    title=lambda job: f"compare outputs of {job.kernels[0]} with those of {job.kernels[1]}",
    packages=("numpy",),
    is_known=lambda job: job.metric is None or job.metric.is_known,
)
