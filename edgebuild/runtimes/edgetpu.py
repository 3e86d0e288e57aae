"""The Edge TPU compiler: the child that runs it where it is installed, and follows its published rules where not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from edgebuild.accelerators.edgetpu import log, prediction
from edgebuild.actions.runtimes import EdgeTpuJob, EdgeTpuRulesJob
from edgebuild.child import Say
from edgebuild.core.mapping import EdgeTpu
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer import integer_constants
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes import compilers, tools


def compile_(job: EdgeTpuJob, _: Say) -> EdgeTpu:
    """Run the compiler on one part of the graph, as it does by default, and read what it mapped.

    Raises:
        UnavailableError: the compiler is not on the PATH.
        StepError: it refused the artifact.
    """
    compiler = compilers.edgetpu()
    if compiler is None:
        raise UnavailableError(
            f"there is no {compilers.EDGETPU} on the PATH", remedy=f"Install it: {compilers.EDGETPU_INSTALL}"
        )
    artifact, out = Path(job.artifact), Path(job.out)
    ran = tools.run([compiler, "-s", "-o", out.resolve(), artifact.resolve()], out, job.memory_bytes)
    compiled = out / f"{artifact.stem}_edgetpu.tflite"
    if ran.code != 0 or not compiled.is_file():
        raise StepError(f"the Edge TPU compiler refused {artifact.name}", ran.ending)
    return _named(log.read(ran.text, compiled.name), compiled)


def _named(result: EdgeTpu, compiled: Path) -> EdgeTpu:
    """The result with the tensors that tell the layers left to the CPU.

    The log counts operators, and the compiled file holds those that were left: where all of a name were left for one
    reason, they are these.
    """
    written: dict[str, list[str]] = {}
    graph = inspect(compiled.read_bytes(), compiled.name).graphs[0]
    for operation in graph.operations:
        written.setdefault(operation.name, []).extend(graph.tensors[index].name for index in operation.outputs[:1])
    reasons = Counter(place.operator for place in result.mapping.left)
    places = tuple(
        msgspec.structs.replace(place, tensors=tuple(written.get(place.operator, ())))
        if not place.is_mapped and reasons[place.operator] == 1
        else place
        for place in result.mapping.places
    )
    mapping = msgspec.structs.replace(result.mapping, places=places)
    return msgspec.structs.replace(result, mapping=mapping)


def predict(job: EdgeTpuRulesJob, _: Say) -> EdgeTpu:
    """Tell by its published rules what the compiler will map.

    Raises:
        StepError: the file is damaged.
    """
    artifact = Path(job.artifact)
    data = artifact.read_bytes()
    constants = integer_constants.read(data, artifact.name)
    return prediction.predict(inspect(data, artifact.name), constants, job.memory_bytes)
