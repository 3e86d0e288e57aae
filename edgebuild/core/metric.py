"""Metric: how a build is scored, as it is asked for and as labels and outputs settled it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from edgebuild.core.plugin import Plugin
from edgebuild.core.settings import AUTO, INPUT, KERAS, AtLeastOne, Count, MetricKind, MetricSettings


class Task(StrEnum):
    """What labels are, which decides how outputs are read.

    CLASSES: one of several classes for each sample or each of its places; labels are numbers or one-hot rows. BINARY:
    yes or no, from one value for each sample or place. LABELS: yes or no for each of several labels. VALUES: numbers.
    """

    CLASSES = "classes"
    BINARY = "binary"
    LABELS = "multi-label"
    VALUES = "values"


_SHARES = frozenset({MetricKind.ACCURACY, MetricKind.TOP_K, MetricKind.AUC, MetricKind.MIOU, MetricKind.IOU})
_ERRORS = frozenset({MetricKind.MSE, MetricKind.MAE, MetricKind.RMSE})


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """How an artifact is scored on the evaluation split.

    A build settles it once, from the evaluation labels and the float network's outputs (`metrics.choosing`); all that
    scores or compares takes the settled one.

    Attributes:
        name: a MetricKind, "keras:CLASS", or "module:callable" taking (outputs, y) arrays and returning a number; AUTO
            until it is settled.
        k: how many predictions count, for top-k.
        output: which output of the network is scored, by position; 0 until it is settled.
        lower_is_better: the direction of a callable's or a Keras metric's score; the built-in ones know theirs.
        asked_output: the output as it was asked for, a name or a number; empty for whichever the labels fit.
        options: of a Keras metric.
        target: INPUT where outputs are compared with the network's input; empty for labels.
        input: which input that is, by position.
        task: what labels are; None until it is settled, and for a callable.
        threshold: of outputs: above it they say yes. None until it is settled.
        ignore: the label that is neither scored nor learnt from; None for none, and until it is settled.
        low: the label that means no, where labels are yes or no.
        high: the label that means yes.
        why: why it was chosen, for people; empty where nothing was chosen.
        plugin: what computes it where another package brings it; None for all others.
        share: whether that one's score is a fraction of one.
    """

    name: str
    k: AtLeastOne = 5
    output: Count = 0
    lower_is_better: bool = False
    asked_output: str = ""
    options: dict[str, Any] = {}
    target: str = ""
    input: Count = 0
    task: Task | None = None
    threshold: float | None = None
    ignore: float | None = None
    low: float = 0.0
    high: float = 1.0
    why: str = ""
    plugin: Plugin | None = None
    share: bool = False

    @classmethod
    def asked(cls, settings: MetricSettings) -> Metric:
        """The metric that settings ask for, before anything is known of labels."""
        return cls(
            name=settings.name,
            k=settings.k,
            output=settings.output if isinstance(settings.output, int) else 0,
            lower_is_better=settings.lower_is_better,
            asked_output=str(settings.output),
            options=settings.options,
            target=settings.target if settings.target == INPUT else "",
            threshold=settings.threshold if isinstance(settings.threshold, float | int) else None,
            ignore=settings.ignore if isinstance(settings.ignore, float | int) else None,
        )

    def by(self, plugin: Plugin, *, lower_is_better: bool, is_share: bool) -> Metric:
        """The same, computed by a plug-in."""
        return replace(self, plugin=plugin, lower_is_better=lower_is_better, share=is_share)

    @property
    def is_auto(self) -> bool:
        """Whether it is chosen by what the labels are."""
        return self.name == AUTO

    @property
    def is_keras(self) -> bool:
        """Whether it is a Keras metric."""
        return self.name.startswith(KERAS)

    @property
    def is_callable(self) -> bool:
        """Whether it is a function of the user's own, or of a plug-in."""
        return self.plugin is not None or (":" in self.name and not self.is_keras)

    @property
    def is_known(self) -> bool:
        """Whether its code is: a function of the user's may be another one tomorrow."""
        return self.plugin is not None or not self.is_callable

    @property
    def is_open(self) -> bool:
        """Whether its score may be a share or any other number."""
        return ":" in self.name

    @property
    def less_is_more(self) -> bool:
        """Whether a smaller score is the better one."""
        takes_word = self.is_open or self.plugin is not None
        return self.name in _ERRORS or (takes_word and self.lower_is_better)

    @property
    def classifies(self) -> bool:
        """Whether it is known to compare classes, one for each sample or place."""
        return self.name in _SHARES and self.task in (None, Task.CLASSES)

    @property
    def says_yes_or_no(self) -> bool:
        """Whether outputs are compared with a threshold."""
        return self.task in (Task.BINARY, Task.LABELS)

    @property
    def is_share(self) -> bool:
        """Whether the score is a fraction of one, written with %; a callable's may be either."""
        return self.name in _SHARES or self.share

    @property
    def label(self) -> str:
        """The name for people: "top-5" rather than "top-k"."""
        if self.name == MetricKind.TOP_K:
            return f"top-{self.k}"
        if self.name == MetricKind.ACCURACY and self.task == Task.LABELS:
            return "per-label accuracy"
        if self.name == MetricKind.AUC and self.task == Task.LABELS:
            return "macro AUC"
        return self.name.removeprefix(KERAS)
