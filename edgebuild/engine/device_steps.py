"""The steps that ask a target's own runtime or compiler: for each, what decides its result, and the job."""

from __future__ import annotations

from pathlib import Path

from edgebuild import hashing, host
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.place import Place
from edgebuild.core.target import Accelerator, Kernels
from edgebuild.engine.material import Built, Data
from edgebuild.engine.session import Step, Worker
from edgebuild.passes import jobs
from edgebuild.runtimes.jobs import (
    DelegationJob,
    EdgeTpuJob,
    EdgeTpuRulesJob,
    EthosUJob,
    OutputsJob,
    ParityJob,
    RunsJob,
)
from edgebuild.runtimes.tflm.jobs import ArenaJob, KernelsJob, SampleJob

TFLM = Worker("edgebuild.runtimes.tflm.worker", "TensorFlow Lite Micro")
DELEGATION = Worker("edgebuild.runtimes.delegation", "the interpreter")
PARITY = Worker("edgebuild.runtimes.parity", "the interpreter")
EDGETPU = Worker("edgebuild.runtimes.edgetpu", "the Edge TPU compiler")
VELA = Worker("edgebuild.runtimes.ethosu.vela", "Vela")

# Whose outputs are held against each other where the target's kernels are XNNPACK's.
FAMILIES = (Kernels.XNNPACK, Kernels.REFERENCE)


def kernels(target: str, spec: ArtifactSpec, version: str) -> Step:
    """Ask TensorFlow Lite Micro which operators it has no kernels for."""
    operators = tuple(sorted({operator.name for operator in spec.operators}))
    return Step(
        "tflm-kernels",
        f"{target}: ask TensorFlow Lite Micro for its kernels",
        [operators, version],
        lambda _: KernelsJob(operators=operators),
    )


def runs(built: Built, tflm: str = "") -> Step:
    """Load an artifact on its target's kernels and run it once; `tflm` as in `steps.score`."""
    kernels = built.plan.runtime.kernels
    name = "TensorFlow Lite Micro" if tflm else f"{kernels} kernels"
    return Step(
        "tflm-runs" if tflm else "runs",
        f"{built.plan.target}: see whether {name} run{'s' if tflm else ''} it",
        [hashing.of_file(built.path), kernels, tflm, host.identity()],
        lambda _: RunsJob(artifact=str(built.path), kernels=kernels),
    )


def arena(artifact: Path, version: str, of: str) -> Step:
    """Find the arena that TensorFlow Lite Micro needs; `of` goes before the title."""
    return Step(
        "tflm-arena",
        f"{of}: find the arena that it needs",
        [hashing.of_file(artifact), version],
        lambda _: ArenaJob(artifact=str(artifact)),
    )


def sample(built: Built, data: Data, version: str) -> Step:
    """Run a sample on TensorFlow Lite Micro (two where state is kept), for firmware to check itself by."""
    preprocess, streams = built.plan.preprocess, bool(built.network.streams)
    return Step(
        "tflm-sample",
        f"{built.plan.target}: run a sample for the firmware's own test",
        [hashing.of_file(built.path), data.splits.evaluation_sha256, preprocess, version, streams],
        lambda _: SampleJob(
            artifact=str(built.path),
            spec=built.spec,
            samples=str(data.path / jobs.EVALUATION),
            preprocess=preprocess,
            streams=streams,
        ),
    )


def delegation(built: Built) -> Step:
    """Read from LiteRT which operators its XNNPACK delegate takes."""
    return Step(
        "delegation",
        f"{built.plan.target}: see which operators XNNPACK takes",
        [hashing.of_file(built.path), host.identity()],
        lambda _: DelegationJob(artifact=str(built.path)),
    )


def outputs(built: Built, data: Data, family: Kernels) -> Step:
    """Run evaluation samples on one kernel family."""
    plan = built.plan
    return Step(
        "outputs",
        f"{plan.target}: run samples on {family} kernels",
        [hashing.of_file(built.path), data.splits.evaluation_sha256, plan.preprocess, family, host.identity()],
        lambda out: outputs_job(built, data, family, out),
    )


def outputs_job(built: Built, data: Data, family: Kernels, out: Path) -> OutputsJob:
    """The job that runs evaluation samples and keeps what comes out."""
    return OutputsJob(
        artifact=str(built.path),
        spec=built.spec,
        kernels=family,
        samples=str(data.path / jobs.EVALUATION),
        preprocess=built.plan.preprocess,
        out=str(out),
    )


def parity(built: Built, folders: tuple[str, str], made_from: object) -> Step:
    """Hold two kernel families against each other; `made_from` is what decided their outputs."""
    plan = built.plan
    return Step(
        "parity",
        f"{plan.target}: hold {' and '.join(FAMILIES)} kernels against each other",
        [made_from, plan.metric],
        lambda _: ParityJob(
            spec=built.spec,
            kernels=(str(FAMILIES[0]), str(FAMILIES[1])),
            outputs=folders,
            scored_output=plan.metric.output,
            metric=plan.metric,
        ),
    )


def parity_with(built: Built, place: Place, folders: tuple[Path, Path], made_from: object) -> Step:
    """Hold the target's kernels on this machine against a place; `made_from` is what decided their outputs."""
    plan = built.plan
    kernels = (str(plan.runtime.kernels), place.label)
    return Step(
        "parity",
        f"{plan.target}: hold {kernels[0]} kernels here against {kernels[1]}",
        [made_from, kernels, plan.metric],
        lambda _: ParityJob(
            spec=built.spec,
            kernels=kernels,
            outputs=(str(folders[0]), str(folders[1])),
            scored_output=plan.metric.output,
            metric=plan.metric,
        ),
    )


def edgetpu(built: Built, version: str, memory_bytes: int) -> Step:
    """Compile for the Edge TPU."""
    return Step(
        "edgetpu",
        f"{built.plan.target}: compile for the Edge TPU",
        [hashing.of_file(built.path), version],
        lambda out: EdgeTpuJob(artifact=str(built.path), out=str(out), memory_bytes=memory_bytes),
    )


def edgetpu_rules(built: Built, memory_bytes: int | None) -> Step:
    """Follow the published rules of the Edge TPU compiler."""
    return Step(
        "edgetpu-rules",
        f"{built.plan.target}: predict what the Edge TPU runs",
        [hashing.of_file(built.path), memory_bytes],
        lambda _: EdgeTpuRulesJob(artifact=str(built.path), memory_bytes=memory_bytes),
    )


def vela(built: Built, accelerator: Accelerator, version: str, memory_bytes: int) -> Step:
    """Compile for an Ethos-U; the file may lack the names of its tensors, which the build knows."""
    tensors = tuple(operator.tensor for operator in built.spec.operators)
    return Step(
        "ethos-u",
        f"{built.plan.target}: compile for {accelerator.configuration} with Vela",
        [hashing.of_file(built.path), tensors, accelerator, version],
        lambda out: EthosUJob(
            artifact=str(built.path),
            tensors=tensors,
            accelerator=accelerator.configuration,
            out=str(out),
            system_config=accelerator.system_config,
            memory_mode=accelerator.memory_mode,
            memory_bytes=memory_bytes,
        ),
    )
