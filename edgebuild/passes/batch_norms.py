"""The batch norms of a frozen network, found in its graph: every Keras, and networks without layers, give the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgebuild.data.lint.subject import Norm

Array = npt.NDArray[Any]
_FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SUMS = frozenset({"Add", "AddV2"})
_EACH = 16
_ROWS = 256


class _Found(NamedTuple):
    """Tensors of a batch norm: what goes in, and its moving statistics."""

    given: Any
    mean: Any
    variance: Any


class FrozenView:
    """A frozen network that can be shown samples.

    Args:
        module: as `tf.saved_model.load` gives it.
        batched: whether it takes many samples at a time.
    """

    def __init__(self, module: Any, *, batched: bool) -> None:
        traces = module.network.concrete_functions
        frozen = convert_variables_to_constants_v2(
            next(trace for trace in traces if (trace.inputs[0].shape[0] is None) == batched)
        )
        # Without a signature each call fails to bind first, and writes out all values for a text that nobody reads.
        takes = tuple(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in frozen.inputs)
        self._function = frozen.prune(frozen.inputs, frozen.outputs, input_signature=(takes, {}))
        self._rows = _ROWS if batched else _EACH
        self._each = _EACH if batched else 1
        found = _first(self._function)
        fetches = [tensor for norm in found for tensor in norm]
        self._look = (
            self._function.prune(self._function.inputs, fetches, input_signature=(takes, {})) if found else None
        )

    def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
        """The batch norms that no other one comes before, with what they see of (at most 256) samples."""
        if self._look is None:
            return ()
        sums: list[_Sums] = []
        for arrays in self._batches(x):
            seen = [tensor.numpy() for tensor in self._look(*map(tf.constant, arrays))]
            norms = [_Found(*seen[start : start + 3]) for start in range(0, len(seen), 3)]
            sums = sums or [_Sums(norm) for norm in norms]
            for total, norm in zip(sums, norms, strict=True):
                total.add(norm.given)
        return tuple(total.norm() for total in sums)

    def answers(self, x: Sequence[Array]) -> Array:
        """All outputs, flattened: [samples, values]."""
        rows = []
        for arrays in self._batches(x):
            outputs = tf.nest.flatten(self._function(*map(tf.constant, arrays)))
            rows.append(np.concatenate([output.numpy().reshape(len(arrays[0]), -1) for output in outputs], axis=1))
        return np.concatenate(rows)

    def _batches(self, x: Sequence[Array]) -> Iterator[list[Array]]:
        rows = np.unique(np.linspace(0, len(x[0]) - 1, min(self._rows, len(x[0]))).astype(np.intp))
        for start in range(0, len(rows), self._each):
            yield [array[rows[start : start + self._each]] for array in x]


class _Sums:
    """Mean and variance of each channel, over batches."""

    def __init__(self, norm: _Found) -> None:
        self._moving = [np.asarray(norm.mean, np.float64).ravel(), np.asarray(norm.variance, np.float64).ravel()]
        channels = self._moving[0].size
        self._axis = -1 if norm.given.shape[-1] == channels else 1
        self._count = 0
        self._sum = np.zeros(channels)
        self._squares = np.zeros(channels)

    def add(self, given: Array) -> None:
        """Take in a batch; squares are of the distance to the moving mean, which keeps them exact."""
        rows = np.moveaxis(given, self._axis, -1).reshape(-1, len(self._sum)) - self._moving[0]
        self._count += len(rows)
        self._sum += rows.sum(axis=0)
        self._squares += np.square(rows).sum(axis=0)

    def norm(self) -> Norm:
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - np.square(mean), 0)
        return Norm(self._moving[0], self._moving[1], mean + self._moving[0], variance)


def _first(function: Any) -> list[_Found]:
    """The batch norms of a function without variables that no other one comes before."""
    varying: set[str] = {tensor.name for tensor in function.inputs}
    normed: set[str] = set()
    found: list[_Found] = []
    for operation in function.graph.get_operations():
        names = {tensor.name for tensor in operation.inputs}
        norm = _norm(operation, varying)
        outputs = {tensor.name for tensor in operation.outputs}
        if names & varying:
            varying |= outputs
        if norm is not None and not names & normed:
            found.append(norm)
        if norm is not None or names & normed:
            normed |= outputs
    return found


def _norm(operation: Any, varying: set[str]) -> _Found | None:
    """The batch norm that ends (fused) or begins (made of single operators) with an operator."""
    if operation.type in _FUSED and not operation.get_attr("is_training"):
        given, _, _, mean, variance = operation.inputs
        return _Found(given, mean, variance) if given.name in varying else None
    if operation.type != "Mul":
        return None
    for given, factor in (tuple(operation.inputs), tuple(operation.inputs)[::-1]):
        if given.name in varying and factor.name not in varying:
            variance, mean = _variance(factor), _mean(factor, varying)
            if variance is not None and mean is not None and variance.shape == mean.shape:
                return _Found(given, mean, variance)
    return None


def _variance(factor: Any) -> Any:
    """The variance in a factor rsqrt(variance + epsilon), which may be multiplied by gamma; else None."""
    operation = factor.op
    if operation.type == "Mul":
        return next((found for item in operation.inputs if (found := _variance(item)) is not None), None)
    if operation.type != "Rsqrt" or operation.inputs[0].op.type not in _SUMS:
        return None
    one, other = operation.inputs[0].op.inputs
    return one if one.shape.rank else other


def _mean(factor: Any, varying: set[str]) -> Any:
    """The mean of a batch norm whose offset is beta - mean * factor, or (-mean) * factor without beta; else None."""
    for user in factor.consumers():
        names = [tensor.name for tensor in user.inputs]
        if user.type != "Mul" or factor.name not in names or varying.intersection(names):
            continue
        mean = user.inputs[1 - names.index(factor.name)]
        if mean.op.type == "Neg":
            return mean.op.inputs[0]
        if any(after.type == "Sub" for after in user.outputs[0].consumers()):
            return mean
    return None
