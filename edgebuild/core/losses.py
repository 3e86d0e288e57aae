"""What a build lost on its way to the artifact: answers, confidence and signal, held against the float network."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from enum import StrEnum

import msgspec

# In which a scoring keeps its network's outputs.
OUTPUTS = "outputs.npy"


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a signal y is left in q, over all samples together.

    Attributes:
        sqnr_db: signal to quantization noise, 10 log10(sum y^2 / sum (y - q)^2) decibels; between -150 and 150, where
            150 means that nothing was lost.
        cosine: sum y q / sqrt(sum y^2 sum q^2).
    """

    sqnr_db: float
    cosine: float

    @property
    def noise(self) -> float:
        """The power of the noise as a share of the signal's."""
        return float(10 ** (-self.sqnr_db / 10))


class ChangedInput(msgspec.Struct, frozen=True, kw_only=True):
    """A sample whose answer changed; for scores that know no classes, one whose output moved most.

    Attributes:
        index: of the sample in the evaluation split.
        difference: root mean square of what its outputs moved by.
        label: its class; None where the sample has no class or many answers.
        before: the float network's class for it, or None.
        after: the artifact's class for it, or None.
        share: of its answers that changed; 1 where it has one.
    """

    index: int
    difference: float
    label: int | None = None
    before: int | None = None
    after: int | None = None
    share: float = 1.0


class ClassChange(msgspec.Struct, frozen=True, kw_only=True):
    """One class's answers that were right before and are wrong now (`lost`), and the other way round (`gained`)."""

    label: int
    lost: int
    gained: int


class ConfusionChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many answers of one class went from one cell of its confusion matrix row to another."""

    label: int
    before: int
    after: int
    count: int


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that differ between the float network and the artifact, where the score knows classes.

    Attributes:
        total: answers compared; a sample has many where each place of it is classified.
        changed: how many differ. For top-k the most likely class is compared.
        lost: right before, wrong now, as the score counts it.
        gained: wrong before, right now.
        classes: those of which answers were lost or gained, most lost first.
        confusion: changed cells, the largest first, at most 1,000.
    """

    total: int
    changed: int
    lost: int
    gained: int
    classes: tuple[ClassChange, ...]
    confusion: tuple[ConfusionChange, ...]


class ConfidenceOf(StrEnum):
    """What stands for the probability of a class."""

    OUTPUTS = "outputs"
    SOFTMAX = "softmax of outputs"


class Confidence(msgspec.Struct, frozen=True, kw_only=True):
    """Expected calibration errors (Guo et al. 2017, "On calibration of modern neural networks", section 2).

    Attributes:
        of: whether the outputs are probabilities themselves, or logits that softmax makes probabilities of.
        bins: of equal width.
        baseline: the float network's error, between 0 and 1.
        artifact: the artifact's.
    """

    of: ConfidenceOf
    bins: int
    baseline: float
    artifact: float


class OutputLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What the scored output lost on the evaluation split.

    Attributes:
        samples: that were compared: the first ones, where outputs are too large to keep them all.
        signal: of the output.
        logits: of the logits behind probabilities, where the output has them and was not rounded to a grid. Where a
            network is sure, its probabilities hide what its logits lose.
        answers: None where the score knows no classes.
        confidence: None where there are no classes, or nothing that is a probability.
        inputs: samples whose answers changed, those that became wrong first and then by the difference, at most 100.
        better: samples that are nearer to their labels than before, as the score counts it: more of their predictions
            are right, or their mean square error is smaller. 0 where the score is a function.
        worse: samples that are farther.
        fell_by: the mean over the samples of what each one's own score fell by, and its standard deviation; None where
            the score is no mean over samples, or each sample is right or wrong.
    """

    samples: int
    signal: Signal
    logits: Signal | None = None
    answers: Answers | None = None
    confidence: Confidence | None = None
    inputs: tuple[ChangedInput, ...] = ()
    better: int = 0
    worse: int = 0
    fell_by: tuple[float, float] | None = None


class LayerLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The signal at the output of one operator of the artifact.

    Attributes:
        operator: its name in the artifact.
        position: its place among the artifact's operators.
        layers: those of the network that it came from.
        signal: of its output.
        input_sqnr_db: of the worst signal that it reads; None where none of these could be compared.
        is_scored: whether the output that is scored depends on what it writes.
    """

    operator: str
    position: int
    layers: tuple[str, ...]
    signal: Signal
    input_sqnr_db: float | None = None
    is_scored: bool = True

    @property
    def added_noise(self) -> float:
        """The noise power that came with this operator, as a share of the signal's: output minus input.

        It is the operator's own rounding, and what it makes of the noise that it reads. Shares and not decibels are
        subtracted: from 60 dB down to 40 nothing that matters is lost, from 10 down to 7 very much is.
        """
        before = 0.0 if self.input_sqnr_db is None else 10 ** (-self.input_sqnr_db / 10)
        return self.signal.noise - before


class LayerLosses(msgspec.Struct, frozen=True, kw_only=True):
    """The signal lost from layer to layer, against the float network.

    Attributes:
        split: that the samples are from, "calibration" or "evaluation".
        samples: how many were run.
        kernels: the artifact's; the float network runs on XNNPACK's.
        layers: in the artifact's order.
        unmatched: operators of the artifact that have no counterpart in the float network: "ADD (from add)".
        unproved: operators whose pair was dropped: it is not alike, and was found by name alone, or what is computed
            from it agrees with the float network, which it could not if the pair were right.
    """

    split: str
    samples: int
    kernels: str
    layers: tuple[LayerLoss, ...]
    unmatched: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of what was lost; None for what could not be compared."""

    output: OutputLoss | None = None
    layers: LayerLosses | None = None


def worst(layers: Iterable[LayerLoss], count: int) -> tuple[LayerLoss, ...]:
    """The operators that added most noise to what they were given, worst first; equal ones in the artifact's order."""
    adding = (layer for layer in layers if layer.added_noise > 0)
    return tuple(heapq.nsmallest(count, adding, key=lambda layer: (-layer.added_noise, layer.position)))
