"""Networks: the example trained, a user's network frozen, or carried into the graph that passes change."""

from __future__ import annotations

import msgspec

from edgebuild.actions.tools import TENSORFLOW, TENSORFLOW_PACKAGES
from edgebuild.core.action import File, Kind, Out, parse
from edgebuild.core.model import ModelSpec
from edgebuild.core.passes import Recurrent
from edgebuild.core.plugin import Plugin

SAVED_MODEL = "saved_model"
NETWORK = "network.npz"
# The kind of what a pass wrote, beside those of what users give.
GRAPH = "graph"
EXAMPLE_MODEL = "digits.keras"
EXAMPLE_DATA = "digits.npz"
# Steps that are written out for a recurrent layer unless its user asks for more: each is some ten operators and 2 to 14
# kB of an int8 file, and a conversion of 300 takes half a minute.
MOST_STEPS = 256


class ExampleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Train the embedded example; writes EXAMPLE_MODEL and EXAMPLE_DATA."""

    out: Out = ""
    seed: int


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """The example is there."""

    epochs: int


EXAMPLE = Kind(
    name="example",
    settings=ExampleJob,
    result=Trained,
    run="edgebuild.passes.example:run",
    tool=TENSORFLOW,
    title=lambda _: "train the example",
    packages=(*TENSORFLOW_PACKAGES, "scikit-learn"),
)


class FreezeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Load a network and write it as SAVED_MODEL with static shapes and a batch of 1.

    Attributes:
        kind: "file", "folder" or "callable", or GRAPH for NETWORK of a pass.
        input_shape: without the batch, for a network that leaves dimensions open; empty for its own.
        input_shapes: likewise by the names of inputs.
        data_shapes: of the samples that were given, by input, "" for the one of a network with one input.
        signature: of a SavedModel; empty for its only one, or its default.
        allow_code: whether Python code stored in the file may run.
        recurrent: how layers that step through a sequence are written.
    """

    kind: str
    path: File
    input_shape: tuple[int, ...]
    signature: str
    allow_code: bool
    out: Out = ""
    recurrent: Recurrent = Recurrent.AUTO
    input_shapes: dict[str, tuple[int, ...]] = {}
    data_shapes: dict[str, tuple[int, ...]] = {}


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """Turn what the importer of a plug-in takes, a file or a text, into a network that FREEZE loads."""

    path: File
    plugin: Plugin
    out: Out = ""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The network lies at this path below the folder: a file or a folder, as FreezeJob has its kind."""

    kind: str
    path: str


IMPORT = Kind(
    name="import",
    settings=ImportJob,
    result=Imported,
    run="edgebuild.passes.plugged:import_",
    tool=TENSORFLOW,
    title=lambda job: f"import with {job.plugin.label}",
    packages=TENSORFLOW_PACKAGES,
    # A text may mean another network tomorrow.
    is_known=lambda job: parse(job.path) is not None,
)


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that steps through a sequence, and how many steps it has; 0 where that is not known."""

    layer: str
    steps: int


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The network as seen from outside.

    Attributes:
        batched: whether it also takes many samples at a time.
        identity_sha256: of all that decides what it computes: the traced graph, the weights, captured constants.
        notes: what was changed to load it.
        unrolled: the loops whose steps are written out one after another.
        fused: those that become one operator.
        loops: those that stay loops of a graph, which the converter does not quantize.
        recurrent: as the job asked.
    """

    network: ModelSpec
    batched: bool
    identity_sha256: str
    notes: tuple[str, ...] = ()
    unrolled: tuple[Loop, ...] = ()
    fused: tuple[Loop, ...] = ()
    loops: tuple[Loop, ...] = ()
    recurrent: Recurrent = Recurrent.AUTO

    @property
    def has_recurrent_layers(self) -> bool:
        """Whether it steps through sequences, or keeps state from one inference to the next."""
        return bool(self.unrolled or self.fused or self.loops or self.network.streams)


FREEZE = Kind(
    name="freeze",
    settings=FreezeJob,
    result=Frozen,
    run="edgebuild.passes.freeze:run",
    tool=TENSORFLOW,
    title=lambda _: "fix the shapes of the network",
    packages=TENSORFLOW_PACKAGES,
)


class CarryJob(FreezeJob, frozen=True, kw_only=True):
    """Load a network with its layers and write it as NETWORK, a graph that passes can change."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """A network that passes can change, with nested networks taken apart.

    Attributes:
        identity_sha256: of its structure and its weights.
        layers: its layers by name; "conv/gelu" does a part of what conv did.
    """

    identity_sha256: str
    parameters: int
    layers: tuple[str, ...]
    notes: tuple[str, ...]


CARRY = Kind(
    name="carry",
    settings=CarryJob,
    result=Carried,
    run="edgebuild.passes.carry:run",
    tool=TENSORFLOW,
    title=lambda _: "load the network with its layers",
    packages=TENSORFLOW_PACKAGES,
)


class CallJob(FreezeJob, frozen=True, kw_only=True):
    """Call a function for a network, once for all that a build makes of it."""


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """What it returned: as SAVED_MODEL, and as NETWORK; `failure` is why there is no such: what, why and remedy."""

    frozen: Frozen
    carried: Carried | None = None
    failure: tuple[str, str, str] = ("", "", "")


CALL = Kind(
    name="call",
    settings=CallJob,
    result=Called,
    run="edgebuild.passes.call:run",
    tool=TENSORFLOW,
    title=lambda job: f"call {job.path}",
    packages=TENSORFLOW_PACKAGES,
    is_known=lambda _: False,
)
