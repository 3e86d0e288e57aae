"""What a pass may cost: its network is taken only where the validation score holds."""

from __future__ import annotations

from typing import NamedTuple

from edgebuild.core.metric import Metric
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.training.trainer import Trainer, in_words


class Guard(NamedTuple):
    """The validation score of the network before all compression, and how far a smaller one may fall below it."""

    standard: float | None
    max_drop: float
    metric: Metric

    @classmethod
    def of(cls, original: Graph, max_drop: float, trainer: Trainer) -> Guard:
        """The guard that a network sets up for its successors."""
        return cls(trainer.score(building.build(original)), max_drop, trainer.metric)

    def holds(self, score: float | None) -> bool:
        """Whether a score is good enough; without labels every network is, and one that gives no numbers never."""
        return score is None or self.standard is None or drop(self.standard, score, self.metric) <= self.max_drop

    def refusal(self, what: str, score: float | None) -> str:
        """Why something was taken back, for people."""
        now, before = (in_words(value, self.metric) for value in (score, self.standard))
        return f"{what} was taken back: {now} on validation, {before} before; max_drop allows less"


def drop(before: float, after: float, metric: Metric) -> float:
    """How much of a score was lost: points of a share, else a share of the score before."""
    lost = after - before if metric.less_is_more else before - after
    return lost if metric.is_share or before == 0 else lost / abs(before)
