"""Delivery: what an artifact holds beside its network, and what its developer gets with it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from edgebuild.core.passes import Share

# The name of its entry in a .tflite file.
ENTRY = "TFLITE_METADATA"


class Layout(StrEnum):
    """Ways in which sources for firmware are laid out."""

    OFF = "off"
    PLAIN = "plain"
    ARDUINO = "arduino"
    ESP_IDF = "esp-idf"
    ZEPHYR = "zephyr"


class Delivery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[delivery]` of a profile.

    Attributes:
        lean: whether the file is written without what the target does not read: names, ranges, signatures.
        metadata: whether it says what mobile SDKs ask for: TFLite metadata, with the labels.
        firmware: the layout of the sources that bring it into firmware.
        arena_margin: what the arena in these sources has beyond what was recorded, as a share of it.
        card: whether a model card is written.
    """

    lean: bool = False
    metadata: bool = False
    firmware: Layout = Layout.OFF
    arena_margin: Share = 0.1
    card: bool = True


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[about]` of edgebuild.toml: what metadata and model card say of the network; empty where nobody has said it."""

    description: str
    author: str
    version: str
    license: str


class Names(StrEnum):
    """Which tensors keep their names."""

    ALL = "all"
    ENDS = "ends"  # inputs and outputs
    NONE = "none"


class BiasScales(StrEnum):
    """What becomes of the scales of biases that kernels work out from those of inputs and weights.

    TFLM and LiteRT's own kernels never look at them. XNNPACK looks whether there are as many as there are channels, and
    leaves the layer to slower kernels where there are not: the vector of the weights' scales stands in for them then.
    """

    KEPT = "kept"
    WEIGHTS = "weights"
    NONE = "none"


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """What a file keeps beside what its kernels read.

    Attributes:
        signatures: by which apps call it.
        metadata: the names of the entries that its readers want; the plan of an offline memory planner always stays.
    """

    signatures: bool = False
    metadata: tuple[str, ...] = ()
    names: Names = Names.NONE
    bias_scales: BiasScales = BiasScales.WEIGHTS


class PackedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file left beside the artifact; `path` is relative to the manifest."""

    path: str
    sha256: str
    size_bytes: int


class Leaner(msgspec.Struct, frozen=True, kw_only=True):
    """What packing took off a file without touching a weight.

    Attributes:
        before_bytes: the file as it was converted.
        after_bytes: as it ships.
        payload_bytes: weights and other constants in it, which no packing makes smaller.
        before_activations_bytes: live tensors at the worst moment, in the order as it was converted.
        after_activations_bytes: in the order as it ships.
        verified_on: the runtimes on which both files gave the same outputs, bit for bit.
    """

    before_bytes: int
    after_bytes: int
    payload_bytes: int
    before_activations_bytes: int
    after_activations_bytes: int
    verified_on: tuple[str, ...]


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One sample that was run on TFLM: what each input and output held, in the file's order.

    Raw bytes of the tensors' types: little endian, row-major. `following` is the sample that was run next, for a
    network that keeps state.
    """

    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    following: Vector | None = None


class Content(StrEnum):
    """What a tensor holds: features of any kind, an image of three or one channels, or sound."""

    FEATURES = "features"
    RGB = "rgb"
    GRAYSCALE = "grayscale"
    AUDIO = "audio"


class Pixels(StrEnum):
    """How samples hold pixels, which apps have as 0 to 255."""

    BYTES = "0 to 255"
    UNIT = "0 to 1"
    SIGNED = "-1 to 1"
    OTHER = "other"


class InputDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the graph.

    Attributes:
        mean: what an SDK takes off the values that an app has, one for all channels or one for each.
        std: what it divides them by then; as many. Both empty where the network takes values as they are.
        low: the smallest value that an app has, as many as channels or one; empty where that is not known.
        high: the largest.
        sample_rate: of sound, in Hz; 0 where that is not known.
        channels: of sound.
    """

    name: str
    text: str = ""
    content: Content = Content.FEATURES
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    sample_rate: int = 0
    channels: int = 0


class OutputDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One output of the graph; `labels` name the entries of its last axis."""

    name: str
    text: str = ""
    labels: tuple[str, ...] = ()


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact; inputs and outputs stand in the order of its graph's."""

    name: str
    text: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[InputDescription, ...]
    outputs: tuple[OutputDescription, ...]
