"""Runtimes: whether they run an artifact, with which kernels, in which arena; and compilers of accelerators."""

from __future__ import annotations

import msgspec

from edgebuild.actions.tools import (
    COMPILER,
    EDGETPU_COMPILER,
    INTERPRETER,
    LITERT_PACKAGES,
    TFLM,
    TFLM_PACKAGES,
    VELA,
    VELA_PACKAGES,
)
from edgebuild.core.action import File, Kind, MemoryLimit, Out
from edgebuild.core.delivery import Vector
from edgebuild.core.device import Arena, Compiled, EdgeTpu, EthosU, Mapping
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.settings import AtLeastOne, Count, Preprocess
from edgebuild.core.target import Accelerator, Kernels

# No microcontroller has more, and what an arena does not use of it costs the host nothing.
MOST_ARENA_BYTES = 256 * 2**20


class RunsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Load an artifact and run it once on random inputs; TensorFlow Lite Micro has no choice of kernels."""

    artifact: File
    kernels: Kernels = Kernels.REFERENCE


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """It did."""


RUNS = Kind(
    name="runs",
    settings=RunsJob,
    result=Ran,
    run="edgebuild.runtimes.litert:run_once",
    tool=INTERPRETER,
    title=lambda job: f"see whether {job.kernels} kernels run it",
    packages=LITERT_PACKAGES,
    of_host=True,
)

TFLM_RUNS = Kind(
    name="tflm-runs",
    settings=RunsJob,
    result=Ran,
    run="edgebuild.runtimes.tflm.worker:run_once",
    tool=TFLM,
    title=lambda _: "see whether TensorFlow Lite Micro runs it",
    packages=TFLM_PACKAGES,
    of_host=True,
)


class KernelsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Find which operators have no kernel in TFLM; by their names as in model.Operator."""

    operators: tuple[str, ...]


class MissingKernels(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the operators asked for that TFLM cannot run, in their order."""

    operators: tuple[str, ...]


TFLM_KERNELS = Kind(
    name="tflm-kernels",
    settings=KernelsJob,
    result=MissingKernels,
    run="edgebuild.runtimes.tflm.worker:missing_kernels",
    tool=TFLM,
    title=lambda _: "ask TensorFlow Lite Micro for its kernels",
    packages=TFLM_PACKAGES,
)


class ArenaJob(msgspec.Struct, frozen=True, kw_only=True):
    """Find the tensor arena that an artifact needs; one that needs more than `most_bytes` is refused."""

    artifact: File
    most_bytes: AtLeastOne = MOST_ARENA_BYTES


TFLM_ARENA = Kind(
    name="tflm-arena",
    settings=ArenaJob,
    result=Arena,
    run="edgebuild.runtimes.tflm.arena:measure",
    tool=TFLM,
    title=lambda _: "find the arena that it needs",
    packages=TFLM_PACKAGES,
)


class SampleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run one sample of a split: the one at `row`. `spec` has its inputs in the network's order.

    The next sample is run as well where the artifact keeps state, which is reset in between unless it `streams`.
    """

    artifact: File
    spec: ArtifactSpec
    samples: File
    preprocess: Preprocess
    row: Count = 0
    streams: bool = False


TFLM_SAMPLE = Kind(
    name="tflm-sample",
    settings=SampleJob,
    result=Vector,
    run="edgebuild.runtimes.tflm.worker:sample",
    tool=TFLM,
    title=lambda _: "run a sample for the firmware's own test",
    packages=TFLM_PACKAGES,
)


class DelegationJob(msgspec.Struct, frozen=True, kw_only=True):
    """Tell which operators of an artifact the delegate takes."""

    artifact: File


DELEGATION = Kind(
    name="delegation",
    settings=DelegationJob,
    result=Mapping,
    run="edgebuild.runtimes.delegation:delegation",
    tool=INTERPRETER,
    title=lambda _: "see which operators XNNPACK takes",
    packages=LITERT_PACKAGES,
    of_host=True,
)


class EdgeTpuJob(msgspec.Struct, frozen=True, kw_only=True):
    """Compile an artifact for the Edge TPU into the folder `out`.

    `compiler` is the digest of what compiles; `memory_bytes` is what that may take.
    """

    artifact: File
    compiler: str = ""
    out: Out = ""
    memory_bytes: MemoryLimit = 0


EDGETPU = Kind(
    name="edgetpu",
    settings=EdgeTpuJob,
    result=EdgeTpu,
    run="edgebuild.runtimes.edgetpu:compile_",
    tool=EDGETPU_COMPILER,
    title=lambda _: "compile for the Edge TPU",
    packages=("flatbuffers", "numpy"),
    is_local=lambda _: True,
)


class EdgeTpuRulesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Tell what the Edge TPU compiler will map; `memory_bytes` is the chip's for parameters, None for the usual."""

    artifact: File
    memory_bytes: Count | None = None


EDGETPU_RULES = Kind(
    name="edgetpu-rules",
    settings=EdgeTpuRulesJob,
    result=EdgeTpu,
    run="edgebuild.runtimes.edgetpu:predict",
    tool=EDGETPU_COMPILER,
    title=lambda _: "predict what the Edge TPU runs",
    packages=("flatbuffers", "numpy"),
)


class EthosUJob(msgspec.Struct, frozen=True, kw_only=True):
    """Compile an artifact for an Ethos-U into the folder `out`.

    Attributes:
        artifact: an int8 or int16x8 .tflite file.
        accelerator: Vela's name of the NPU with its multiply-accumulates a cycle ("ethos-u55-128").
        system_config: Vela's name for the clock and the memories, of those it brings; empty for its default.
        memory_mode: Vela's name for what is kept in which memory; empty for its default.
        memory_bytes: what Vela may take; 0 for no limit.
        tensors: what each operator writes first, in their order, where the file has no names; empty for its own.
    """

    artifact: File
    accelerator: str
    out: Out = ""
    tensors: tuple[str, ...] = ()
    system_config: str = ""
    memory_mode: str = ""
    memory_bytes: MemoryLimit = 0


ETHOS_U = Kind(
    name="ethos-u",
    settings=EthosUJob,
    result=EthosU,
    run="edgebuild.runtimes.ethosu:compile_",
    tool=VELA,
    title=lambda job: f"compile for {job.accelerator} with Vela",
    packages=VELA_PACKAGES,
)


class CompileJob(msgspec.Struct, frozen=True, kw_only=True):
    """Compile an artifact with the compiler of a plug-in, which the accelerator names, into the folder `out`."""

    artifact: File
    accelerator: Accelerator
    out: Out = ""


COMPILE = Kind(
    name="compile",
    settings=CompileJob,
    result=Compiled,
    run="edgebuild.runtimes.plugged:compile_",
    tool=COMPILER,
    title=lambda job: f"compile for {job.accelerator.called}",
    packages=("numpy",),
)
