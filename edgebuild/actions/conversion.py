"""Conversion: from a frozen network to a .tflite file, and what is done to that before it ships."""

from __future__ import annotations

import msgspec

from edgebuild.actions.tools import (
    CONVERTER_PACKAGES,
    LITERT_PACKAGES,
    PACKER,
    TENSORFLOW,
    TFLM_PACKAGES,
    WRITER,
)
from edgebuild.core.action import File, Kind, Out
from edgebuild.core.delivery import Keep, Layout, Leaner, Metadata, Vector
from edgebuild.core.model import ArtifactSpec, ModelSpec
from edgebuild.core.passes import Quantize
from edgebuild.core.settings import Preprocess
from edgebuild.core.target import Interpreter, Kernels

ARTIFACT = "model.tflite"


class QuantizeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Convert to ARTIFACT; `calibration` is a split's folder, or empty where the scheme needs none.

    `sliced` are operators that the target does not run, and that get slices in their place.
    """

    saved_model: File
    calibration: File
    preprocess: Preprocess
    quantize: Quantize
    network: ModelSpec
    out: Out = ""
    sliced: tuple[str, ...] = ()


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact is there and was read back."""

    artifact: ArtifactSpec


QUANTIZE = Kind(
    name="quantize",
    settings=QuantizeJob,
    result=Converted,
    run="edgebuild.passes.quantize:run",
    tool=TENSORFLOW,
    title=lambda job: f"convert to {job.quantize.scheme}",
    packages=CONVERTER_PACKAGES,
    # It says nothing itself.
    if_it_crashes="TensorFlow's converter ended without a word. --quantize dynamic or float16 takes another way "
    "through it.",
)


class LeanJob(msgspec.Struct, frozen=True, kw_only=True):
    """Make a file lean.

    Attributes:
        artifact: the .tflite file.
        out: the folder that the lean one is written into, as ARTIFACT.
        keep: what it keeps.
        kernels: the families of LiteRT on which it is compared; the file has to load there.
        runtime: of the target. For TFLM the arena is made lean as well; where its wheel is installed the file is
            compared on it too, and the arena measured.
    """

    artifact: File
    out: Out = ""
    keep: Keep
    kernels: tuple[Kernels, ...]
    runtime: Interpreter


class Leaned(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file.

    Attributes:
        before: bytes of the given file by what they are for, see Inspection.
        after: those of the file in `out`.
        tensors: the names in the given file of what the operators of that in `out` write first, in their order.
        reordered: whether its operators have another order.
        planned: whether it has an offline plan for TFLM.
    """

    leaner: Leaner
    before: dict[str, int]
    after: dict[str, int]
    tensors: tuple[str, ...]
    reordered: bool = False
    planned: bool = False


LEAN = Kind(
    name="lean",
    settings=LeanJob,
    result=Leaned,
    run="edgebuild.runtimes.leaning:make_lean",
    tool=PACKER,
    title=lambda _: "pack the file",
    packages=(*LITERT_PACKAGES, *TFLM_PACKAGES),
    of_host=True,
)


class MetadataJob(msgspec.Struct, frozen=True, kw_only=True):
    """Write an artifact with its TFLite metadata into the folder `out`, as ARTIFACT."""

    artifact: File
    described: Metadata
    out: Out = ""


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """The size of the artifact with its metadata."""

    size_bytes: int


METADATA = Kind(
    name="metadata",
    settings=MetadataJob,
    result=Described,
    run="edgebuild.emit.worker:describe",
    tool=WRITER,
    title=lambda _: "write the metadata that SDKs read",
    packages=("flatbuffers", "numpy"),
)


class FirmwareJob(msgspec.Struct, frozen=True, kw_only=True):
    """Write the sources that bring an artifact into firmware into the folder `out`; as in firmware.Firmware.

    `inputs` and `outputs` are the names of the network's, in the file's order: the file may hold none.
    """

    name: str
    artifact: File
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arena_bytes: int | None
    arena_margin: float
    preprocess: Preprocess
    labels: tuple[str, ...]
    labelled: str
    vector: Vector | None
    layout: Layout
    out: Out = ""
    streams: bool = False


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """The files, relative to the folder, sorted; and the constant data that they bring into a linked image."""

    paths: tuple[str, ...]
    flash_bytes: int


FIRMWARE = Kind(
    name="firmware",
    settings=FirmwareJob,
    result=Sources,
    run="edgebuild.emit.worker:firmware",
    tool=WRITER,
    title=lambda _: "write sources for firmware",
    packages=("flatbuffers", "numpy"),
)
