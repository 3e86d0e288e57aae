"""The terms that passes are set up in, and what each pass says of itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from edgebuild.units import parse_part, parse_some

Share = Annotated[float, parse_part]
SomeShare = Annotated[float, parse_some]
Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class Scheme(StrEnum):
    """How weights and activations are stored, in the terms of the TFLite converter."""

    INT8 = "int8"
    INT16X8 = "int16x8"
    DYNAMIC = "dynamic"
    FLOAT16 = "float16"
    FLOAT32 = "float32"

    @property
    def needs_calibration(self) -> bool:
        """Whether the converter must see representative data to choose activation ranges."""
        return self in (Scheme.INT8, Scheme.INT16X8)


class Recurrent(StrEnum):
    """How layers that step through a sequence (LSTM, GRU, ConvLSTM2D, ...) are converted.

    FUSED makes each LSTM that TensorFlow Lite knows one operator, which clears its state after each inference, and
    unrolls sequences of other layers that are short enough. UNROLLED writes out every step, however many there are.
    AUTO is FUSED on processors; for int16x8 and on accelerators it unrolls sequences that are short enough.
    """

    AUTO = "auto"
    FUSED = "fused"
    UNROLLED = "unrolled"


class DType(StrEnum):
    """Element types of an artifact's inputs and outputs."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"


class Cost(StrEnum):
    """What a channel is held to cost."""

    MACS = "macs"
    BYTES = "bytes"
    LATENCY = "latency"


class Importance(StrEnum):
    """How much a channel is held to matter."""

    L1 = "l1"
    L2 = "l2"
    BATCH_NORM = "batch-norm"
    TAYLOR = "taylor"


class Traits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What each pass says of itself, so that nobody else need ask which one it is; those of most passes stand here."""

    @property
    def tag(self) -> str:
        """The kind that manifests know it by."""
        return str(self.__struct_config__.tag)

    @property
    def called(self) -> str:
        """The name that profiles and edgebuild.toml know it by."""
        return self.tag

    @property
    def refines(self) -> bool:
        """Whether it is for the accuracy of int8 or int16x8, and may be left out; else it makes the network smaller."""
        return False

    @property
    def learns(self) -> bool:
        """Whether it takes train data, where there are any."""
        return not self.refines

    @property
    def trains(self) -> bool:
        """Whether it takes a share of the time for training."""
        return self.learns

    @property
    def observes(self) -> bool:
        """Whether it takes calibration samples, where there are any."""
        return self.refines

    @property
    def works_untrained(self) -> bool:
        """Whether it is done where there are no train data."""
        return self.refines

    @property
    def suits_int16(self) -> bool:
        """Of what refines: whether int16x8 gains by it, and a training for int8 that follows."""
        return False

    @property
    def brings_ranges(self) -> bool:
        """Whether it leaves ranges of activations for the converter."""
        return False

    @property
    def trains_for_int8(self) -> bool:
        """Whether it leaves a network that was trained with nodes that quantize."""
        return False

    @property
    def shares_values(self) -> bool:
        """Whether it makes weights share values, which others would undo."""
        return False

    @property
    def keeps_shared_values(self) -> bool:
        """Whether it is done for the sake of weights that share values alone."""
        return False

    @property
    def replaces_network(self) -> bool:
        """Whether another network comes in place of the given one."""
        return False

    @property
    def reads_files(self) -> bool:
        """Whether it reads what its settings name by paths, or calls code of the user."""
        return False

    @property
    def ranks_by_latency(self) -> bool:
        """Whether it takes measured times of layers."""
        return False

    @property
    def leaves_layers(self) -> bool:
        """Whether it leaves alone the layers that stay in float."""
        return False


class Schedule(StrEnum):
    """How sparsity comes about in training."""

    CONSTANT = "constant"
    POLYNOMIAL = "polynomial"


class Pattern(StrEnum):
    """Which weights become zero together, in the artifact's layout: its last axis is the input channels."""

    UNSTRUCTURED = "unstructured"
    BLOCK_1X4 = "1x4"
    BLOCK_4X4 = "4x4"
    TWO_OF_FOUR = "2:4"


class Norm(StrEnum):
    """How the magnitude of a block is taken; a single weight's is the same either way."""

    L1 = "l1"
    L2 = "l2"


class Allocation(StrEnum):
    """How an overall share of zeros is divided among the layers."""

    UNIFORM = "uniform"
    SENSITIVITY = "sensitivity"


class Centroids(StrEnum):
    """Where the search for cluster centroids starts."""

    KMEANS = "kmeans++"
    DENSITY = "density"
    LINEAR = "linear"


class Ranges(StrEnum):
    """How the range of an activation is chosen, on calibration samples."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"
    KL = "kl"
    BEST = "best"


class Rounding(StrEnum):
    """How weights come onto the grid of their channel."""

    NEAREST = "nearest"
    ADAPTIVE = "adaptive"


class BiasCorrection(StrEnum):
    """How the shift that quantization gives a channel's mean is taken back."""

    OFF = "off"
    EMPIRICAL = "empirical"
    ANALYTIC = "analytic"
