"""What a network looks like from outside: its tensors, and the operators of an artifact made of it."""

from __future__ import annotations

import msgspec

# The runtime of an operator version that is newer than any that edgebuild has heard of.
UNKNOWN_RUNTIME = "unknown"


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output. `shape` includes the batch; -1 is a dimension left open.

    `scale` and `zero_point` map stored integers to real values: real = scale * (stored - zero_point); a scale of 0
    means that the tensor is not quantized. `index` is its place among an artifact's tensors, -1 outside of one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0
    index: int = -1


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded network.

    Attributes:
        layers: the names by which its user knows its parts, those inside nested networks too: "conv", or
            "backbone/conv" where another part is called conv as well.
        within: the layers inside each nested network, by its name; a nested network that only consists of layers is
            none of `layers`.
        pixels: the inputs that the network takes as pixels of 0 to 255, which its first layer scales.
        streams: the layers that carry their state over from one call to the next, as their user asked for (stateful).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[str, ...]
    parameters: int
    framework: str
    within: dict[str, tuple[str, ...]] = {}
    streams: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One operator of an artifact.

    Attributes:
        name: its BuiltinOperator name, or "CUSTOM:name" / "FLEX:name".
        tensor: the name of its first output, in which the converter keeps the layers it came from.
        dtypes: the element types of its data inputs and outputs.
        runtime: the oldest TensorFlow Lite runtime that knows this version; empty where that is not published,
            UNKNOWN_RUNTIME where the version is newer than those that are.
        dynamic: whether a tensor of it has a shape that is known only as it runs.
        macs: multiply-accumulates of one run.
    """

    name: str
    version: int
    tensor: str
    dtypes: tuple[str, ...]
    runtime: str
    dynamic: bool = False
    macs: int = 0


class ArtifactSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What was read back from a .tflite file.

    `activations_bytes`: live tensors at the worst moment, see reader. `keeps_state`: whether variables carry values
    over from one inference to the next.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]
    signatures: tuple[str, ...]
    activations_bytes: int
    keeps_state: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(operator.macs for operator in self.operators)


def version_key(version: str) -> tuple[int, ...]:
    """A version such as "2.16" as three numbers that compare; parts that are missing or no number count as zero."""
    parts = [int(part) if part.isdecimal() else 0 for part in version.split(".")]
    return (*parts[:3], *[0] * (3 - len(parts)))
