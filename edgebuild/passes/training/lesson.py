"""What trainings learn from, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgebuild.actions.compression import Unseen
from edgebuild.core.metric import Metric
from edgebuild.core.settings import DistillSettings, TrainSettings
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.training.data import TrainData
from edgebuild.passes.training.teachers import Teacher


class Lesson(NamedTuple):
    """All that trainings of one target share.

    `time_s` is for all of them together, from `started` (of time.monotonic) on; `unseen` is how the original does on
    evaluation samples; `original` is the network before compression, which others are like where there are no labels.
    """

    data: TrainData
    teachers: Sequence[Teacher]
    train: TrainSettings
    distill: DistillSettings
    metric: Metric
    time_s: float
    seed: int
    unseen: Unseen | None = None
    started: float = 0.0
    original: Graph | None = None
