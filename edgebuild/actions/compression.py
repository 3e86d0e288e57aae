"""Compression: one pass on a network, what it learns from, and the times of layers that it goes by."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgebuild.actions.networks import Frozen
from edgebuild.actions.tools import DATA_PACKAGES, LITERT_PACKAGES, TENSORFLOW, TENSORFLOW_PACKAGES, TIMED
from edgebuild.core.action import HOST_TIMER, File, Kind, Out, Takes
from edgebuild.core.layers import LayerShape
from edgebuild.core.metric import Metric
from edgebuild.core.passes import Pass, Recurrent
from edgebuild.core.plan import Source
from edgebuild.core.settings import AtLeastOne, DistillSettings, Preprocess, TrainSettings
from edgebuild.core.target import Kernels
from edgebuild.layer_costs import LatencyTable


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """The original network's score on so many evaluation samples."""

    score: float
    samples: int


class LessonJob(msgspec.Struct, frozen=True, kw_only=True):
    """What trainings learn from.

    Attributes:
        data: the folder of the splits.
        given_samples: in the train split as it was given.
        validation_samples: that were given to choose by; 0 to keep a share of train for that.
        time_s: that this pass may train for.
        allow_code: whether Python code stored in a teacher's file may run.
        unseen: how the original does on samples that it did not learn; None where that is not known.
        learns_from: the files and functions that it depends on beside the data.
        max_drop: how much of the score a pass may cost: points of a share, else a share of the original's.
    """

    data: File
    given_samples: int
    preprocess: Preprocess
    metric: Metric
    train: TrainSettings
    distill: DistillSettings
    seed: int
    time_s: float
    allow_code: bool
    unseen: Unseen | None = None
    learns_from: tuple[Source, ...] = ()
    max_drop: float = 0.01
    validation_samples: int = 0


class CompressJob(msgspec.Struct, frozen=True, kw_only=True):
    """Do one pass on a network.

    Attributes:
        settings: the pass.
        network: the file to change.
        original: the file of the network before all compression.
        lesson: None where there are no train data.
        calibration: the folder of the calibration split; empty where there is none.
        preprocess: what is done to samples.
        latencies: measured times of the network's layers, for Cost.LATENCY.
        float_layers: layers that calibration leaves to float.
        seed: of what is drawn beside training.
        recurrent: how layers that step through a sequence are written, where a pass writes a SavedModel.
    """

    settings: Pass
    network: File
    original: File
    lesson: LessonJob | None
    calibration: File
    preprocess: Preprocess
    latencies: LatencyTable | None
    float_layers: tuple[str, ...]
    seed: int
    out: Out = ""
    recurrent: Recurrent = Recurrent.AUTO


class Compressed(msgspec.Struct, frozen=True, kw_only=True):
    """A pass was done, and NETWORK written (by quantization-aware training SAVED_MODEL).

    Attributes:
        notes: what was done, and what was left alone and why.
        frozen: what the SavedModel is, where the pass wrote one.
        instead: the layers that do now what a layer did, by its name: for those of which that is not itself alone.
    """

    identity_sha256: str
    parameters: int
    notes: tuple[str, ...]
    frozen: Frozen | None = None
    instead: dict[str, tuple[str, ...]] = {}


# Trials, rounds and a last training that was not enough may take this many times what a pass was given.
_TRAININGS = 2


def _takes(job: CompressJob) -> Takes:
    if job.lesson is None:
        return Takes()
    return Takes(extra_s=_TRAININGS * job.lesson.time_s, all_cores=True)


def _is_known(job: CompressJob) -> bool:
    return job.lesson is None or all(source.sha256 for source in job.lesson.learns_from)


def _is_local(job: CompressJob) -> bool:
    """Whether it reads what the user's settings name: teachers, a student, functions."""
    return job.settings.reads_files or (job.lesson is not None and bool(job.lesson.learns_from))


def _pass(name: str, title: str, module: str = "") -> Kind[CompressJob, Compressed]:
    return Kind(
        name=name,
        settings=CompressJob,
        result=Compressed,
        run=f"edgebuild.passes.{module or name}:run",
        tool=TENSORFLOW,
        title=lambda _: title,
        packages=(*TENSORFLOW_PACKAGES, *DATA_PACKAGES),
        takes=_takes,
        is_known=_is_known,
        is_local=_is_local,
        if_it_crashes="Training ended without a word: memory may have run out ([train] batch_size = 16 takes less).",
    )


# By the kinds of passes, as profiles name them. A new pass is a module of `passes` and a line here.
PASSES = {
    "student": _pass("student", "teach a student"),
    "channels": _pass("channels", "prune channels"),
    "prune": _pass("prune", "prune weights"),
    "cluster": _pass("cluster", "cluster weights"),
    "qat": _pass("qat", "train quantization-aware"),
    "equalize": _pass("equalize", "equalize channels"),
    "calibrate": _pass("calibrate", "choose int8 grids"),
    "plugin": _pass("plugin", "do the pass of a plug-in", "plugged"),
}


class LayersJob(msgspec.Struct, frozen=True, kw_only=True):
    """List the shapes to measure for ranking channels by latency."""

    network: File
    multiple: int


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """For each layer that can be timed the shapes that it may get."""

    grids: tuple[tuple[LayerShape, tuple[LayerShape, ...]], ...]


LAYERS = Kind(
    name="layers",
    settings=LayersJob,
    result=Layers,
    run="edgebuild.passes.layers:run",
    tool=TENSORFLOW,
    title=lambda _: "list the layers to time",
    packages=TENSORFLOW_PACKAGES,
)


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


LAYER_TIMES = Kind(
    name="layer-times",
    settings=LayerTimesJob,
    result=LayerTimes,
    run="edgebuild.runtimes.layer_times:layer_times",
    tool=TIMED,
    title=lambda job: f"time {len(job.layers):,} single layers on this machine",
    packages=LITERT_PACKAGES,
    of_host=True,
    takes=lambda _: Takes(alone=(HOST_TIMER,)),
)
