"""LiteRT's interpreter: opened with a kernel family, filled and timed."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgebuild.core.model import TensorSpec
from edgebuild.core.target import Kernels
from edgebuild.data.given import Array
from edgebuild.errors import StepError

_RESOLVERS = {
    Kernels.XNNPACK: OpResolverType.AUTO,
    Kernels.BUILTIN: OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    Kernels.REFERENCE: OpResolverType.BUILTIN_REF,
}


def load(artifact: str | bytes, name: str, kernels: Kernels, threads: int, *, keeps_tensors: bool = False) -> Any:
    """An interpreter that is ready for its inputs.

    Args:
        artifact: the path of a .tflite file, or its bytes.
        name: what it is called in errors.
        kernels: the family that computes.
        threads: how many it may use.
        keeps_tensors: whether all that operators write can be read after a run, at the price of memory.

    Raises:
        StepError: the interpreter refused the artifact.
    """
    source = {"model_content" if isinstance(artifact, bytes) else "model_path": artifact}
    with refusals(name, kernels), warnings.catch_warnings():
        # It warns of the memory that it takes to keep tensors.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = Interpreter(
            **source,
            num_threads=threads,
            experimental_op_resolver_type=_RESOLVERS[kernels],
            experimental_preserve_all_tensors=keeps_tensors,
        )
        interpreter.allocate_tensors()
    return interpreter


@contextlib.contextmanager
def refusals(name: str, kernels: Kernels) -> Iterator[None]:
    """Around work of an interpreter: what it raises becomes a StepError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise StepError(f"LiteRT does not run {name} with {kernels} kernels", str(error)) from None


def stored(array: Array, spec: TensorSpec) -> Array:
    """Real values as an input stores them; TFLite's own rounding, half away from zero, then saturation."""
    if not spec.scale:
        # Whole numbers of 64 bits may be kept in 32.
        return array.astype(spec.dtype, copy=False) if array.dtype.kind in "iu" else array
    limits = np.iinfo(spec.dtype)
    # In float64: in float32 the sum with a half carries 0.49999997 over to the next number.
    scaled = (array / np.float32(spec.scale)).astype(np.float64)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + spec.zero_point
    return np.asarray(np.clip(rounded, limits.min, limits.max).astype(spec.dtype))


def real(values: Array, spec: TensorSpec) -> Array:
    """The real values of what an output holds."""
    if not spec.scale:
        return values
    return np.asarray((values.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale))


def fill_randomly(interpreter: Any) -> None:
    """Random inputs, the same each time."""
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        dtype = np.dtype(details["dtype"])
        values = rng.random(details["shape"]) if dtype.kind == "f" else rng.integers(0, 2, details["shape"])
        interpreter.set_tensor(details["index"], values.astype(dtype))


def times_s(interpreter: Any, *, most: int, fewest: int, budget_s: float) -> list[float]:
    """Seconds of single inferences: `most` of them, or as many as the budget allows once there are `fewest`."""
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < most and (len(samples) < fewest or time.perf_counter() - started < budget_s):
        start = time.perf_counter_ns()
        interpreter.invoke()
        samples.append((time.perf_counter_ns() - start) * 1e-9)
    return samples
