"""Passes: what is done to a network on its way to an artifact. A tagged union; each variant has its own settings."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from edgebuild.core.pass_terms import (
    Allocation as Allocation,
    AtLeastOne,
    BiasCorrection as BiasCorrection,
    Centroids as Centroids,
    Cost as Cost,
    Count,
    DType as DType,
    Importance as Importance,
    Norm as Norm,
    Pattern as Pattern,
    Ranges as Ranges,
    Recurrent as Recurrent,
    Rounding as Rounding,
    Schedule as Schedule,
    Scheme as Scheme,
    Share as Share,
    SomeShare,
    Traits,
)
from edgebuild.core.plugin import Plugin


class Student(Traits, frozen=True, kw_only=True, tag="student"):
    """Another network in place of the given one, which teaches it.

    Attributes:
        network: a file, folder or module:callable as for [model] path; empty for a copy.
        width: of the copy, as a share of each layer's channels.
        multiple: that the copy's channel counts are kept at.
        fresh: whether the copy starts from new random weights, or from the most important channels' own.
    """

    network: str
    width: SomeShare
    multiple: AtLeastOne
    fresh: bool

    @property
    def replaces_network(self) -> bool:
        """It does."""
        return True

    @property
    def reads_files(self) -> bool:
        """Where it is another one than a copy."""
        return bool(self.network)


class Channels(Traits, frozen=True, kw_only=True, tag="channels"):
    """Channel (structural) pruning: whole channels and blocks taken out, the smaller network trained after each round.

    Attributes:
        keep: the share of the cost that may be left.
        cost: what is counted: multiply-accumulates, bytes of weights, or time measured with the target's kernels.
        rank_by: the cost that a channel's importance is held against; another one than `cost` spends what is left
            where it pays most.
        importance: how channels are ranked; Taylor needs train data, and L2 norms stand in where there are none.
        multiple: that channel counts are kept at.
        rounds: in how many rounds of pruning and training the goal is reached.
        blocks: whether whole residual blocks and layers may be dropped.
        exclude: layers whose channels are left alone.
        max_drop: how far the validation score may fall before a round is reverted: points of a percentage, else a share
            of the original's. None for what the budget on accuracy_drop allows, and 1 % where there is none.
        untrained: whether to prune also where there are no train data to recover with.
    """

    keep: SomeShare
    cost: Cost
    rank_by: Cost
    importance: Importance
    multiple: AtLeastOne
    rounds: AtLeastOne
    blocks: bool
    exclude: tuple[str, ...]
    untrained: bool
    max_drop: Share | None = None

    @property
    def works_untrained(self) -> bool:
        """As its settings say."""
        return self.untrained

    @property
    def ranks_by_latency(self) -> bool:
        """Where channels cost time."""
        return Cost.LATENCY in (self.cost, self.rank_by)


class Prune(Traits, frozen=True, kw_only=True, tag="prune"):
    """Magnitude pruning of the kernels of convolutions and dense layers; depthwise kernels and biases stay.

    Attributes:
        sparsity: the share of zeros in each kernel that is pruned (of all of them together with sensitivity).
        schedule: at once, or polynomial: gradually (Zhu and Gupta 2017, "To prune, or not to prune", section 3).
        initial: the share that a polynomial schedule starts with.
        power: of the polynomial.
        end: the share of the training after which a polynomial schedule is at its goal; the rest recovers.
        updates: how many times a polynomial schedule raises the share.
        pattern: which weights become zero together; 2:4 always gives one half.
        norm: by which blocks are ranked.
        allocation: the same share for each layer, or by how much each can bear.
        layers: shares for layers by name, over all else; 0 % leaves one alone.
        smallest: kernels with fewer weights stay: what zeros save there, the sparse encoding's tables take again.
        first: whether layers that read the network's input are pruned: they hold few weights, and what they lose no
            later layer can make up for (Han et al. 2015, "Learning both weights and connections", figure 6).
        last: whether layers that make an output are pruned.
        max_drop: as in Channels: a network that lost more is not taken.
        untrained: whether to prune also where there are no train data to recover with.
    """

    sparsity: Share
    schedule: Schedule
    initial: Share
    power: Annotated[float, msgspec.Meta(gt=0)]
    end: Share
    updates: AtLeastOne
    pattern: Pattern
    norm: Norm
    allocation: Allocation
    layers: dict[str, Share]
    smallest: Count
    first: bool
    last: bool
    untrained: bool
    max_drop: Share | None = None

    @property
    def zeros(self) -> float:
        """The share of zeros that it makes: 2:4 has its own."""
        return 0.5 if self.pattern == Pattern.TWO_OF_FOUR else self.sparsity

    @property
    def works_untrained(self) -> bool:
        """As its settings say."""
        return self.untrained


class Cluster(Traits, frozen=True, kw_only=True, tag="cluster"):
    """Weight sharing (Han et al. 2016, "Deep compression", section 3) in kernels of convolutions and dense layers.

    Attributes:
        clusters: how many different values a kernel may hold, zero included where it was pruned.
        centroids: where their search starts; 1-D k-means follows.
        layers: numbers for layers by name, from 3 on; 0 leaves one alone.
        smallest: kernels with fewer weights stay.
        max_drop: as in Channels: a network that lost more is not taken.
        untrained: whether to cluster also where there are no train data to recover with.
    """

    clusters: Annotated[int, msgspec.Meta(ge=3, le=255)]
    centroids: Centroids
    layers: dict[str, Annotated[int, msgspec.Meta(ge=0, le=255)]]
    smallest: Count
    untrained: bool
    max_drop: Share | None = None

    @property
    def works_untrained(self) -> bool:
        """As its settings say."""
        return self.untrained

    @property
    def shares_values(self) -> bool:
        """It does."""
        return True


class QuantizeAware(Traits, frozen=True, kw_only=True, tag="qat"):
    """Quantization-aware training for int8; zeros and clusters that kernels hold are kept.

    Attributes:
        exclude: layers by name that are trained without quantization.
        part: how long it trains, as a share of a whole training; with 0 % ranges are only chosen, on calibration
            samples: post-training quantization that keeps clusters, which the converter's own does not.
        learning_rate: relative to that of [train]: the network is nearly done, and small steps suit it.
        untrained: whether to choose ranges this way also where there are no train data.
    """

    exclude: tuple[str, ...]
    part: Share
    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    untrained: bool

    @property
    def only_ranges(self) -> bool:
        """Whether nothing is trained."""
        return self.part == 0

    @property
    def works_untrained(self) -> bool:
        """As its settings say."""
        return self.untrained

    @property
    def trains(self) -> bool:
        """Unless ranges are only chosen."""
        return not self.only_ranges

    @property
    def observes(self) -> bool:
        """Ranges begin with those of calibration samples."""
        return True

    @property
    def brings_ranges(self) -> bool:
        """It does."""
        return True

    @property
    def trains_for_int8(self) -> bool:
        """Unless ranges are only chosen."""
        return not self.only_ranges

    @property
    def keeps_shared_values(self) -> bool:
        """Where ranges are only chosen: else the converter does as well."""
        return self.only_ranges


class Equalize(Traits, frozen=True, kw_only=True, tag="equalize"):
    """Makes channels alike before int8, so that none is too small for the grid that all of a tensor share.

    The float network computes the same (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
    correction", section 4.1).

    Attributes:
        fold: whether batch norms are worked into the layers around them, wherever that is exact.
        scales: whether channels are scaled between the layers that make them and those that take them.
        absorb: whether what a channel is never below is moved into the biases behind it (ibid., section 4.1.3).
        split: the share of channels that are doubled, each half as large, because they stand out (Zhao et al. 2019,
            "Improving neural network quantization without retraining using outlier channel splitting").
    """

    fold: bool
    scales: bool
    absorb: bool
    split: Share

    @property
    def refines(self) -> bool:
        """It does."""
        return True

    @property
    def suits_int16(self) -> bool:
        """Channels are made alike for both."""
        return True


class Calibrate(Traits, frozen=True, kw_only=True, tag="calibrate"):
    """Chooses the grids of int8 on calibration samples, and what comes to lie on them, before the converter does.

    Attributes:
        ranges: of activations: one way for all, or for each tensor the one with the least measured error.
        rounding: of weights; adaptive: so that the layer's output changes least.
        clip: whether the largest weights of a channel may be clipped, for a finer grid, where its output gains by it.
        bias: the correction of means (Nagel et al. 2019, section 4.2): from samples, or from batch norms alone, as far
            as these are not folded before.
    """

    ranges: Ranges
    rounding: Rounding
    clip: bool
    bias: BiasCorrection

    @property
    def refines(self) -> bool:
        """It does."""
        return True

    @property
    def leaves_layers(self) -> bool:
        """It does."""
        return True


class Quantize(Traits, frozen=True, kw_only=True, tag="quantize"):
    """Post-training quantization by the TFLite converter; int8 is full-integer with per-channel weights.

    Attributes:
        float_fallback: whether operators without an integer kernel may stay in float.
        sparse: whether weights with many zeros are stored in TensorFlow Lite's sparse encoding.
        float_layers: layers by name whose operators stay in float32, in an int8 network.
        float_answers: whether a softmax or sigmoid that ends an int8 network with float32 outputs is computed in float.
        recurrent: how layers that step through a sequence are converted.
    """

    scheme: Scheme
    input: DType
    output: DType
    float_fallback: bool
    sparse: bool = False
    float_layers: tuple[str, ...] = ()
    float_answers: bool = False
    recurrent: Recurrent = Recurrent.AUTO


class PluginPass(Traits, frozen=True, kw_only=True, tag="plugin"):
    """A pass that another package brings, see `plugins.PassPlugin`.

    Attributes:
        plugin: whose it is, and what it runs.
        settings: as the plug-in's own type has them.
        title: what it does, for people.
        after: the built-in pass that it follows; empty for none.
        max_drop: as in Channels.
    """

    plugin: Plugin
    settings: dict[str, Any]
    title: str
    after: str
    takes_train: bool = False
    takes_calibration: bool = False
    untrained: bool = True
    max_drop: Share | None = None

    @property
    def called(self) -> str:
        """The name of the plug-in."""
        return self.plugin.name

    @property
    def refines(self) -> bool:
        """Where it follows what does."""
        return self.after == AFTER_FOR_ACCURACY

    @property
    def learns(self) -> bool:
        """As the plug-in says."""
        return self.takes_train

    @property
    def observes(self) -> bool:
        """As the plug-in says."""
        return self.takes_calibration

    @property
    def works_untrained(self) -> bool:
        """As the plug-in says."""
        return self.untrained

    @property
    def suits_int16(self) -> bool:
        """It changes the float network, whatever that is quantized to."""
        return True


# What passes of plug-ins may follow: nothing, a pass that makes the network smaller, or one for its accuracy. What
# comes later leaves ranges, which a change of the network would undo.
AFTER_FOR_ACCURACY = "equalize"
AFTER = ("", "student", "channels", "prune", "cluster", AFTER_FOR_ACCURACY)

Compression = Student | Channels | Prune | Cluster | QuantizeAware | PluginPass
Refinement = Equalize | Calibrate | PluginPass
Change = Compression | Refinement
Pass = Change | Quantize
