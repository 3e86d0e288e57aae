"""What a program must know of an artifact, and how numbers are written in programs."""

from __future__ import annotations

import keyword
import math
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from edgebuild.core.manifest import Manifest
from edgebuild.core.model import TensorSpec

# What integers hold.
LIMITS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
# The types that all of the languages have.
TYPES = frozenset({"float32", "int64", "bool", *LIMITS})
# Words that are no names in one of the languages, or that the programs use themselves.
_WORDS = """
auto bool buffer case char close const data default delete do double enum factor false float fun func i in init inputs
int interpreter labels let long mapped mean model new np null object ok operator outputs path predict private public
quantized self short signed static switch this throw throws true try typeof union unsigned using val values var void
when where
"""
_OWN = re.compile(r"(in|out|stored|made|mean|factor|values)\d+")
_TAKEN = frozenset({*keyword.kwlist, *_WORDS.split()})


class End(NamedTuple):
    """An input or output, at its position in the file.

    Attributes:
        name: in the network.
        variable: what the programs call it.
        dtype: as stored.
        shape: with a batch of 1.
        scale: 0 where it is not quantized.
        normalizes: whether what is fed is (x - mean) * scale of the data's values.
    """

    position: int
    name: str
    variable: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    normalizes: bool

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def is_real(self) -> bool:
        """Whether an app has it as real values: as they are, or quantized on the way."""
        return self.dtype == "float32" or bool(self.scale)


class Facts(NamedTuple):
    """An artifact as a program sees it.

    Attributes:
        name: of the class or functions around it.
        file: its name.
        mean: subtracted from values, one for each channel or one for all; empty where nothing is done to them.
        factor: multiplied with them afterwards, likewise.
        labels: of the classes of output `labelled`; empty where there are none.
        resets: whether its state is to be reset before each independent input.
        streams: whether it carries its state over as the network does.
    """

    name: str
    file: str
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    mean: tuple[float, ...]
    factor: tuple[float, ...]
    labels: tuple[str, ...]
    labelled: int
    resets: bool
    streams: bool

    @property
    def are_known(self) -> bool:
        """Whether every type is one that all of the languages have."""
        return all(end.dtype in TYPES for end in (*self.inputs, *self.outputs))


def facts(manifest: Manifest) -> Facts:
    """What a program must know of a build's artifact."""
    plan, artifact, network = manifest.plan, manifest.network, manifest.inputs.network
    floats = [spec.dtype.startswith("float") for spec in network.inputs]
    floats += [True] * (len(artifact.inputs) - len(floats))
    is_identity = plan.preprocess.is_identity
    labels = manifest.inputs.data.labels if manifest.inputs.data is not None else ()
    labelled = plan.metric.output
    fits = labelled < len(artifact.outputs) and bool(labels) and artifact.outputs[labelled].shape[-1:] == (len(labels),)
    taken: set[str] = set()
    return Facts(
        name=_class_name(plan.name),
        file=manifest.artifact.path,
        inputs=tuple(_ends(artifact.inputs, [is_float and not is_identity for is_float in floats], taken)),
        outputs=tuple(_ends(artifact.outputs, [False] * len(artifact.outputs), taken)),
        mean=() if is_identity else _listed(plan.preprocess.mean),
        factor=() if is_identity else _listed(plan.preprocess.scale),
        labels=labels if fits else (),
        labelled=labelled,
        resets=artifact.keeps_state and not network.streams,
        streams=artifact.keeps_state and bool(network.streams),
    )


def at(name: str, values: tuple[float, ...]) -> str:
    """The element of an array of a constant for each channel, or of one for all, that the value of number i takes."""
    return f"{name}[0]" if len(values) == 1 else f"{name}[i % {len(values)}]"


def number(value: float, suffix: str = "") -> str:
    """A number as the literal of the float32 next to it, with a point or an exponent in it."""
    (nearest,) = struct.unpack("f", struct.pack("f", value))
    text = f"{nearest:.9g}"  # as many digits tell every float32 from its neighbours
    return (text if re.search(r"[.en]", text) else f"{text}.0") + suffix


def quoted(texts: Iterable[str]) -> str:
    """Texts as literals that C++, Python and Swift read alike, separated by commas."""
    escaped = (_printable(text).replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return ", ".join(f'"{text}"' for text in escaped)


def shown(end: End) -> str:
    """An end in a comment: its name, type, shape and quantization."""
    # What ends a comment or a docstring is left out.
    name = re.sub(r"[^\w./:-]", "_", end.name)
    quantized = f", scale {number(end.scale)}, zero point {end.zero_point}" if end.scale else ""
    return f"{name}: {end.dtype} [{', '.join(map(str, end.shape))}]{quantized}"


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _listed(values: float | tuple[float, ...]) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)


def _ends(specs: Sequence[TensorSpec], normalizes: Sequence[bool], taken: set[str]) -> Iterator[End]:
    for position, (spec, does) in enumerate(zip(specs, normalizes, strict=True)):
        shape = tuple(1 if size < 0 else size for size in spec.shape)
        variable = _variable(spec.name, taken)
        yield End(position, spec.name, variable, spec.dtype, shape, spec.scale, spec.zero_point, does)


def _variable(name: str, taken: set[str]) -> str:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", name) if word] or ["tensor"]
    text = "_".join(words).lower()
    is_taken = text[0].isdigit() or text in _TAKEN or _OWN.fullmatch(text) is not None
    text = f"tensor_{text}" if is_taken else text
    number_of = 2
    unique = text
    while unique in taken:
        unique, number_of = f"{text}_{number_of}", number_of + 1
    taken.add(unique)
    return unique


def _class_name(name: str) -> str:
    text = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", name) if word)
    return f"Model{text}" if text[:1].isdigit() else f"{text}Model"
