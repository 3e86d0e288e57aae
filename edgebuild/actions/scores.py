"""Scores: of the float network, and of an artifact on this machine, on TensorFlow Lite Micro and on a device."""

from __future__ import annotations

import msgspec

from edgebuild.actions.tools import (
    DATA_PACKAGES,
    INTERPRETER,
    LITERT_PACKAGES,
    TENSORFLOW,
    TENSORFLOW_PACKAGES,
    TFLM,
    TFLM_PACKAGES,
)
from edgebuild.core.action import File, Kind, MemoryLimit, Out, Takes, TimeLimit
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec, ModelSpec
from edgebuild.core.place import QUEUE_S, Place
from edgebuild.core.settings import AUTO, Preprocess
from edgebuild.core.target import Kernels


class BaselineJob(msgspec.Struct, frozen=True, kw_only=True):
    """Settle the metric, score the float network on a split, and keep its outputs in `out` (see data.outputs).

    `labels` are names of the classes, if there are such.
    """

    saved_model: File
    network: ModelSpec
    batched: bool
    evaluation: File
    preprocess: Preprocess
    metric: Metric
    out: Out = ""
    most: int = 0
    labels: tuple[str, ...] = ()


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The float network's score by the metric that was settled, and others that say more, by their names."""

    score: float
    samples: int
    metric: Metric = Metric(name=AUTO)
    further: dict[str, float] = {}


BASELINE = Kind(
    name="baseline",
    settings=BaselineJob,
    result=Baseline,
    run="edgebuild.passes.baseline:run",
    tool=TENSORFLOW,
    title=lambda _: "score the float network",
    packages=(*TENSORFLOW_PACKAGES, *DATA_PACKAGES),
    is_known=lambda job: job.metric.is_known,
)


class ScoreJob(msgspec.Struct, frozen=True, kw_only=True):
    """Score an artifact on a split, and keep its outputs in `out` (see data.outputs).

    `spec` has inputs and outputs in the network's order; `samples` is the folder of the split, of which no more than
    `most` are run, evenly spread (0: all). `resets`: whether the artifact's state is reset before each sample;
    otherwise it is carried over as an app or firmware that only invokes the interpreter carries it.
    """

    artifact: File
    spec: ArtifactSpec
    kernels: Kernels
    samples: File
    preprocess: Preprocess
    metric: Metric
    out: Out = ""
    most: int = 0
    resets: bool = False


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact's score, and others that say more, by their names."""

    score: float
    samples: int
    further: dict[str, float] = {}


SCORE = Kind(
    name="score",
    settings=ScoreJob,
    result=Score,
    run="edgebuild.runtimes.litert:evaluate",
    tool=INTERPRETER,
    title=lambda job: f"score samples on {job.kernels} kernels{_reset(job)}",
    packages=(*LITERT_PACKAGES, *DATA_PACKAGES),
    of_host=True,
    is_known=lambda job: job.metric.is_known,
)

TFLM_SCORE = Kind(
    name="tflm-score",
    settings=ScoreJob,
    result=Score,
    run="edgebuild.runtimes.tflm.worker:evaluate",
    tool=TFLM,
    title=lambda job: f"score samples on TensorFlow Lite Micro's kernels{_reset(job)}",
    packages=(*TFLM_PACKAGES, *DATA_PACKAGES),
    of_host=True,
    is_known=lambda job: job.metric.is_known,
)


def _reset(job: ScoreJob) -> str:
    return ", state reset before each" if job.resets else ""


class At(msgspec.Struct, frozen=True, kw_only=True):
    """Where an action is to be done.

    Attributes:
        place: the device.
        emulator: what it is emulated with; empty where it is not.
        time_s: what one request to it may take.
        memory_bytes: what its process may take.
    """

    place: Place
    emulator: str = ""
    time_s: TimeLimit = 0.0
    memory_bytes: MemoryLimit = 0


class ScoreAtJob(msgspec.Struct, frozen=True, kw_only=True):
    """Score an artifact at a place."""

    at: At
    score: ScoreJob


SCORE_AT = Kind(
    name="score-at",
    settings=ScoreAtJob,
    result=Score,
    run="edgebuild.runtimes.places.scoring:score",
    tool=INTERPRETER,
    title=lambda job: f"score samples on {job.at.place.label}",
    packages=(*LITERT_PACKAGES, *DATA_PACKAGES),
    of_host=True,
    takes=lambda job: on_device(job.at.place),
    is_known=lambda job: job.score.metric.is_known,
)

# Processes are started beside the time that is measured, and a remote one is given up on its own first.
_STARTS_S = 60.0


def on_device(place: Place, beside_s: float = 0.0) -> Takes:
    """What it takes to run something on a device, beside what is measured: a board does one thing at a time."""
    if not place.is_remote:
        return Takes(extra_s=_STARTS_S + beside_s)
    return Takes(extra_s=_STARTS_S + QUEUE_S + beside_s, alone=(place.label,))
