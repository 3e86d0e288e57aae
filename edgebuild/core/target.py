"""Target: what a device is, what is done for it, and what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from edgebuild.core.budget import Budget, Subject
from edgebuild.core.delivery import Delivery
from edgebuild.core.passes import (
    Calibrate,
    Channels,
    Cluster,
    Compression,
    DType,
    Equalize,
    PluginPass,
    Prune,
    QuantizeAware,
    Recurrent,
    Refinement,
    Scheme,
    Student,
)
from edgebuild.core.plugin import Plugin
from edgebuild.units import parse_bytes

P = TypeVar("P", bound=Compression | Refinement)


class Kernels(StrEnum):
    """The kernel families of the LiteRT interpreter; they differ in the last bits of their results."""

    XNNPACK = "xnnpack"
    BUILTIN = "builtin"
    REFERENCE = "reference"


class Known(NamedTuple):
    """What is known of a runtime.

    Attributes:
        called: what people call it.
        kernels: of LiteRT, whose int8 outputs are its own, or differ from them least.
        is_micro: whether it is for microcontrollers: weights lie in flash, and RAM is what it plans.
        is_tflm: whether it is TensorFlow Lite Micro, if with other kernels: artifacts are scored on that where it is
            installed, and firmware is written for its API.
        ram: how its RAM stands to TensorFlow Lite Micro's arena, which is what is measured; empty where that is it.
        ram_share: the least share of that arena that it may need.
    """

    called: str
    kernels: Kernels
    is_micro: bool = False
    is_tflm: bool = False
    ram: str = ""
    ram_share: float = 1.0


_CMSIS = "scratch memory of CMSIS-NN's kernels comes on top"
_ST = "X-CUBE-AI's own RAM is up to 2.7 times less"
_PLUMERAI = "Plumerai's own RAM is another, not known here"


class Interpreter(StrEnum):
    """What runs artifacts on devices. A new one is one line here.

    Measured on logs of boards, 1,000 samples of MLPerf Tiny's keyword spotting: the outputs of CMSIS-NN are those of
    TensorFlow Lite Micro on all of them; those of X-CUBE-AI and Plumerai are XNNPACK's on all, and TensorFlow Lite
    Micro's on 993.
    """

    known: Known

    def __new__(cls, value: str, known: Known = Known("", Kernels.XNNPACK)) -> Interpreter:  # noqa: B008
        """A member that is its name in profiles."""
        made = str.__new__(cls, value)
        made._value_ = value
        made.known = known
        return made

    LITERT = "litert", Known("LiteRT", Kernels.XNNPACK)
    TFLM = "tflm", Known("TensorFlow Lite Micro", Kernels.REFERENCE, is_micro=True, is_tflm=True)
    CMSIS_NN = "cmsis-nn", Known("CMSIS-NN", Kernels.REFERENCE, is_micro=True, is_tflm=True, ram=_CMSIS)
    X_CUBE_AI = "x-cube-ai", Known("X-CUBE-AI", Kernels.XNNPACK, is_micro=True, ram=_ST, ram_share=1 / 2.7)
    PLUMERAI = "plumerai", Known("Plumerai", Kernels.XNNPACK, is_micro=True, ram=_PLUMERAI, ram_share=0.0)

    @property
    def called(self) -> str:
        """What people call it."""
        return self.known.called

    @property
    def is_micro(self) -> bool:
        """Whether it is for microcontrollers."""
        return self.known.is_micro

    @property
    def is_tflm(self) -> bool:
        """Whether it is TensorFlow Lite Micro, if with other kernels."""
        return self.known.is_tflm


# Numbers with points between; empty where none is declared.
Version = Annotated[str, msgspec.Meta(pattern=r"^(\d+(\.\d+)*)?$")]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a profile."""


class Device(_Table, frozen=True, kw_only=True):
    """The board behind a profile: facts for its reader."""

    board: str
    soc: str = ""
    cpu: str = ""
    clock: str = ""
    accelerator: str = ""


class Runtime(_Table, frozen=True, kw_only=True):
    """What will run the artifact.

    Attributes:
        name: of the runtime.
        version: the oldest runtime that must load it, in TensorFlow Lite's numbering; empty where none is declared.
        kernels: the kernels on the build machine that compute like the target's; by default those of its name.
        sparse: whether it reads the converter's encoding of sparse weights.
        code: bytes of flash that its code takes with the kernels of the networks that it runs, as linked; None where
            that is not known, and then no figure has it.
    """

    name: Interpreter
    version: Version = ""
    kernels: Kernels
    sparse: bool = False
    code: Annotated[int, parse_bytes] | None = None


class InputOutput(_Table, frozen=True, kw_only=True):
    """Element types of the artifact's inputs and outputs."""

    input: DType
    output: DType


_APART = ("SPLIT", "SPLIT_V", "UNPACK")


class Operators(_Table, frozen=True, kw_only=True):
    """Which operators the target runs.

    Attributes:
        float: whether also in float32.
        int16: whether also with activations of int16 and weights of int8 (int16x8).
        allowed: names of TFLite's BuiltinOperator; None for every one of them.
    """

    float: bool
    int16: bool = True
    allowed: tuple[str, ...] | None = None

    def has(self, name: str) -> bool:
        """Whether the target runs an operator, by its name in BuiltinOperator."""
        return self.allowed is None or name in self.allowed

    def sliced(self) -> tuple[str, ...]:
        """The operators that take tensors apart and do not run where slices do, which can stand for them."""
        return tuple(name for name in _APART if not self.has(name)) if self.has("STRIDED_SLICE") else ()


class Memory(_Table, frozen=True, kw_only=True):
    """Sizes of the device's memories in bytes; None where the profile does not limit them."""

    flash: Annotated[int, parse_bytes] | None = None
    ram: Annotated[int, parse_bytes] | None = None


class Compiler(StrEnum):
    """What turns a .tflite file into one for an accelerator: the built-in ones."""

    EDGETPU = "edgetpu"
    VELA = "vela"


class CompilerFacts(NamedTuple):
    """What is known of a compiler.

    Attributes:
        tells: the figures that it tells beside its share of operators.
        called: what people call the accelerator; empty where its configuration says that.
    """

    tells: tuple[Subject, ...] = ()
    called: str = ""


_COMPILERS = {
    Compiler.EDGETPU: CompilerFacts(called="Edge TPU"),
    Compiler.VELA: CompilerFacts(tells=(Subject.NPU_LATENCY, Subject.NPU_SRAM)),
}


class AcceleratorTable(_Table, frozen=True, kw_only=True):
    """`[accelerator]` of a profile: what computes beside the CPU.

    Attributes:
        compiler: of its vendor: a Compiler, or of a plug-in.
        configuration: Vela's name for the NPU and its size, such as "ethos-u55-128"; of a plug-in what its author says;
            empty for others.
        system_config: Vela's name for clock and memories; empty for its default.
        memory_mode: Vela's name for what is kept where; empty for its default.
        memory: bytes of its own memory for parameters; None where there is none.
    """

    compiler: str
    configuration: str = ""
    system_config: str = ""
    memory_mode: str = ""
    memory: Annotated[int, parse_bytes] | None = None


class Accelerator(AcceleratorTable, frozen=True, kw_only=True):
    """The same, with what compiles for it.

    Attributes:
        plugin: the compiler, where another package brings it; None for a built-in one.
        estimated: the figures that this one tells beside its share of operators.
    """

    plugin: Plugin | None = None
    estimated: tuple[Subject, ...] = ()

    @classmethod
    def of(cls, table: AcceleratorTable, facts: tuple[Plugin, tuple[Subject, ...]] | None = None) -> Accelerator:
        """The accelerator of a profile; `facts` are of a compiler that a plug-in brings."""
        plugin, estimated = facts if facts is not None else (None, ())
        return cls(**msgspec.structs.asdict(table), plugin=plugin, estimated=estimated)

    @property
    def tells(self) -> tuple[Subject, ...]:
        """The figures that its compiler tells beside its share of operators."""
        return self.estimated if self.plugin is not None else _COMPILERS[Compiler(self.compiler)].tells

    @property
    def called(self) -> str:
        """What people call it."""
        own = "" if self.plugin is not None else _COMPILERS[Compiler(self.compiler)].called
        return own or self.configuration or self.compiler


def has_costs_of_its_own(runtime: Runtime, accelerator: Accelerator | None, board: str) -> bool:
    """Whether a latency on this host is none of a target's.

    So it is of another runtime, of an accelerator and of a named device; a profile of every device that runs LiteRT is
    the interpreter's, here as there.
    """
    return runtime.name.is_micro or accelerator is not None or bool(board)


class QuantizeSettings(_Table, frozen=True, kw_only=True):
    """`[passes.quantize]` of a profile; the others as in passes.Quantize, as far as the target runs float."""

    scheme: Scheme
    float_layers: tuple[str, ...] = ()
    float_answers: bool = True
    recurrent: Recurrent = Recurrent.AUTO


# All passes before quantization, in the order in which they are done; first of all what follows none.
_ORDER = ("", "student", "channels", "prune", "cluster", "qat", "equalize", "calibrate")


class PassTables(_Table, frozen=True, kw_only=True):
    """The passes that a profile asks for, each under its kind."""

    student: Student | None = None
    channels: Channels | None = None
    prune: Prune | None = None
    cluster: Cluster | None = None
    qat: QuantizeAware | None = None
    equalize: Equalize | None = None
    calibrate: Calibrate | None = None
    quantize: QuantizeSettings

    @property
    def compressions(self) -> tuple[Compression, ...]:
        """Those that make the network smaller or cheaper, in the order in which they are done."""
        asked = (self.student, self.channels, self.prune, self.cluster, self.qat)
        return tuple(step for step in asked if step is not None)

    @property
    def refinements(self) -> tuple[Refinement, ...]:
        """Those for the accuracy of int8, in the order in which they are done."""
        return tuple(step for step in (self.equalize, self.calibrate) if step is not None)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, read and checked.

    `sources` names where each figure about a device was read, by dotted path; `plugged` are the passes of plug-ins.
    """

    name: str
    description: str
    runtime: Runtime
    io: InputOutput
    operators: Operators
    passes: PassTables
    plugged: tuple[PluginPass, ...] = ()
    memory: Memory = Memory()
    accelerator: Accelerator | None = None
    delivery: Delivery = Delivery()
    device: Device | None = None
    budgets: tuple[Budget, ...] = ()
    sources: dict[str, str] = {}

    @property
    def compressions(self) -> tuple[Compression, ...]:
        """What makes the network smaller or cheaper, in the order in which it is done."""
        own = [step for step in self.plugged if not step.refines]
        return tuple(_among(self.passes.compressions, own))

    @property
    def refinements(self) -> tuple[Refinement, ...]:
        """What is for the accuracy of int8, in the order in which it is done."""
        return tuple(_among(self.passes.refinements, [step for step in self.plugged if step.refines]))


def _among(steps: Sequence[P], plugged: Sequence[PluginPass]) -> Iterator[P | PluginPass]:
    """Passes of plug-ins among built-in ones: each before the first that comes later than the one that it follows."""
    waiting = sorted(plugged, key=lambda step: _ORDER.index(step.after))
    for step in steps:
        while waiting and _ORDER.index(waiting[0].after) < _ORDER.index(step.tag):
            yield waiting.pop(0)
        yield step
    yield from waiting
