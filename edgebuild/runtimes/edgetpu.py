"""The Edge TPU compiler: the child that runs it where it is installed, and follows its published rules where not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgebuild.accelerators.edgetpu import log, prediction
from edgebuild.actions.runtimes import EdgeTpuJob, EdgeTpuRulesJob
from edgebuild.child import Say
from edgebuild.core.device import EdgeTpu
from edgebuild.errors import StepError, UnavailableError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes import tools

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
}
_LONGEST = 64


def compile_(job: EdgeTpuJob, _: Say) -> EdgeTpu:
    """Run the compiler on one part of the graph, as it does by default, and read what it mapped.

    Raises:
        UnavailableError: the compiler is not on the PATH.
        StepError: it refused the artifact.
    """
    compiler = tools.edgetpu()
    if compiler is None:
        raise UnavailableError(
            f"there is no {tools.EDGETPU} on the PATH", remedy=f"Install it: {tools.EDGETPU_INSTALL}"
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
    constants = integer_constants(data, artifact.name)
    return prediction.predict(inspect(data, artifact.name), constants, job.memory_bytes)


def integer_constants(data: bytes, name: str, longest: int = _LONGEST) -> dict[int, tuple[int, ...]]:
    """The constants of the first graph by tensor, flat; one that holds one value throughout is that value once.

    Args:
        data: the bytes of a .tflite file.
        name: for errors.
        longest: constants of more values, and of several, are left out.

    Raises:
        StepError: the file is damaged.
    """
    try:
        model: Any = schema.Model.GetRootAs(data, 0)
        graph = model.Subgraphs(0)
        count = graph.TensorsLength()
        if count * 4 > len(data):
            raise ValueError("it counts more tensors than it has bytes")
        found = ((index, _values(model, graph.Tensors(index), longest)) for index in range(count))
        return {index: values for index, values in found if values is not None}
    except Exception as error:  # the accessors check nothing: a damaged file raises whatever it likes
        raise StepError(f"{name} is damaged", f"{type(error).__name__}: {error}") from None


def _values(model: Any, tensor: Any, longest: int) -> tuple[int, ...] | None:
    buffer = model.Buffers(tensor.Buffer())
    dtype = _DTYPES.get(tensor.Type())
    if dtype is None or tensor.Sparsity() is not None or buffer.DataLength() == 0:
        return None
    values = buffer.DataAsNumpy().view(dtype.newbyteorder("<"))
    if (values == values[0]).all():
        return (int(values[0]),)
    return tuple(values.tolist()) if values.size <= longest else None
