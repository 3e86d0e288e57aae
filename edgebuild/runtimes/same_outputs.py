"""Whether two artifacts compute the same, bit for bit: the child that runs both on the same inputs.

Layouts of files and orders of operators are changed on the promise that nothing else changes. This holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edgebuild.child import Job, Say, paced
from edgebuild.core.model import ArtifactSpec, TensorSpec
from edgebuild.core.settings import AtLeastOne, Preprocess
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader
from edgebuild.runtimes.interpreters import load, refusals, stored
from edgebuild.runtimes.tflm.interpreter import Micro, positions

_BATCH = 256


class SameOutputsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run two artifacts on the same inputs.

    Attributes:
        artifact: a .tflite file.
        other: one whose inputs and outputs are of the same types and in the same order.
        runtime: that runs them.
        kernels: of LiteRT; TFLM has one family.
        samples: the folder of a split; empty for random inputs with a fixed seed that fill the range of their types.
        spec: of `artifact`, with inputs in the network's order; needed for samples.
        preprocess: for samples.
        most_samples: how many are run, from the first on.
    """

    artifact: str
    other: str
    runtime: Interpreter = Interpreter.LITERT
    kernels: Kernels = Kernels.REFERENCE
    samples: str = ""
    spec: ArtifactSpec | None = None
    preprocess: Preprocess | None = None
    most_samples: AtLeastOne = 8


class SameOutputs(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples were run, and for how many of them some byte of some output differed."""

    samples: int
    differing: int


class _Opened(NamedTuple):
    """An artifact in its runtime: what runs it, and the shapes of its inputs there, in which open dimensions are 1."""

    run: Callable[[Sequence[Array]], list[bytes]]
    shapes: list[list[int]]


def same_outputs(job: SameOutputsJob, say: Say) -> SameOutputs:
    """Run both artifacts on each sample, state carried over as in use, and compare what their outputs store.

    Raises:
        StepError: the runtime refused one of them, or random inputs of their types cannot be made.
        UnavailableError: TFLM is not installed.
    """
    own, other = (_opened(Path(path), job) for path in (job.artifact, job.other))
    samples = differing = 0
    tell = paced(say)
    for fills in _fills(job, own.shapes):
        differing += own.run(fills) != other.run(fills)
        samples += 1
        tell(f"{samples:,} samples")
    return SameOutputs(samples=samples, differing=differing)


def _opened(path: Path, job: SameOutputsJob) -> _Opened:
    if job.runtime == Interpreter.TFLM:
        return _on_tflm(path)
    return _on_litert(path, job.kernels)


def _on_litert(path: Path, kernels: Kernels) -> _Opened:
    interpreter = load(str(path), path.name, kernels, threads=1)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(fills: Sequence[Array]) -> list[bytes]:
        with refusals(path.name, kernels):
            for array, details in zip(fills, inputs, strict=True):
                interpreter.set_tensor(details["index"], array)
            interpreter.invoke()
            return [interpreter.get_tensor(details["index"]).tobytes() for details in outputs]

    return _Opened(run, [list(details["shape"]) for details in inputs])


def _on_tflm(path: Path) -> _Opened:
    micro = Micro(path)

    def run(fills: Sequence[Array]) -> list[bytes]:
        micro.run(fills)
        return [micro.output(position).tobytes() for position in range(len(micro.spec.outputs))]

    return _Opened(run, micro.input_shapes())


def _fills(job: SameOutputsJob, shapes: Sequence[Sequence[int]]) -> Iterator[list[Array]]:
    """What inputs store, in the file's order, sample by sample; random ones have these shapes."""
    file = reader.read(Path(job.artifact)).inputs
    if not job.samples:
        rng = np.random.default_rng(0)
        for _ in range(job.most_samples):
            yield [_random(tensor, shape, rng) for tensor, shape in zip(file, shapes, strict=True)]
        return
    assert job.spec is not None, "samples are in the network's order"
    assert job.preprocess is not None, "samples are kept as they were given"
    inputs, places = job.spec.inputs, positions(job.spec.inputs, file)
    samples = Samples(Path(job.samples), job.preprocess)
    fed = [np.dtype(np.float32) if tensor.scale else np.dtype(tensor.dtype) for tensor in inputs]
    for start in range(0, min(len(samples), job.most_samples), _BATCH):
        arrays = samples.batch(start, min(start + _BATCH, len(samples), job.most_samples), fed)
        stores = [stored(array, tensor) for array, tensor in zip(arrays, inputs, strict=True)]
        for row in range(len(stores[0])):
            yield [stores[place][row : row + 1] for place in places]


def _random(tensor: TensorSpec, shape: Sequence[int], rng: np.random.Generator) -> Array:
    try:
        dtype = np.dtype(tensor.dtype)
    except TypeError:
        raise StepError(f"random inputs of the type {tensor.dtype} cannot be made") from None
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape).astype(dtype))
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    # Positions, tokens and lengths have limits that the file does not tell.
    return rng.integers(0, 2, shape).astype(dtype)


JOBS = {"same-outputs": Job(SameOutputsJob, same_outputs)}
