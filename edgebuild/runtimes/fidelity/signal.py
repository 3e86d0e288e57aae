"""Signal to quantization noise over samples, of pairs of tensors that what reads them does not contradict.

What an operator adds to the noise that it reads cannot take most of it away again. So where a pair is hardly alike and
yet what is computed from it is, the pair is wrong and not the network. How much noise a tensor can have had, given the
noise of what reads it, is followed from the outputs back to the inputs, also past pairs that are wrong themselves:
sums keep noise as it is, products keep its share of the signal, means lower it by what they average, and behind what
saturates or selects nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from edgebuild.core.losses import Signal
from edgebuild.data.given import Array
from edgebuild.runtimes.fidelity.matching import Node, Wiring

# Beyond this float32 itself is noise, and JSON has no word for infinity.
_LIMIT_DB = 150.0
# Outputs may be memory-mapped masks: as many are looked at together as fit in this.
_CHUNK_BYTES = 32 * 10**6
# A pair that has less than this in common is looked into: a cosine of about 0.9.
_HARDLY_ALIKE_DB = 7.0
# So much of its noise may be lost in a sum (a fused ReLU), and in products (directions that weights do not pass on).
_LOST_IN_SUMS, _LOST_IN_PRODUCTS = 10.0, 100.0
# Of one direction in so many dimensions, and yet not of one length: the same signal before or after a scale.
_SAME_DIRECTION = 0.999
_SUMS = frozenset(
    {"ADD", "SUB", "ADD_N", "CONCATENATION", "RESHAPE", "TRANSPOSE", "PAD", "PADV2", "QUANTIZE", "DEQUANTIZE"}
    | {"SQUEEZE", "EXPAND_DIMS", "PACK", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"}
    | {"SPACE_TO_BATCH", "TILE", "BROADCAST_TO", "RESIZE_NEAREST_NEIGHBOR"}
)
_PRODUCTS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL", "MUL", "NEG"}
)
_MEANS = frozenset({"MEAN", "SUM", "AVERAGE_POOL_2D"})


class Sums:
    """The sums that a signal's figures are made of; arrays are added sample by sample or in batches."""

    def __init__(self) -> None:
        self._signal = self._other = self._product = self._noise = 0.0

    def add(self, exact: Array, given: Array) -> None:
        """Add what should be and what is, two real-valued arrays of one shape."""
        y = np.asarray(exact, np.float64).ravel()
        q = np.asarray(given, np.float64).ravel()
        error = y - q
        self._signal += _dot(y, y)
        self._other += _dot(q, q)
        self._product += _dot(y, q)
        self._noise += _dot(error, error)

    @property
    def power(self) -> Power:
        """The power of the signal and of the noise over all that was added, and the cosine of both."""
        return Power(self._signal, self._noise, self._cosine())

    def signal(self) -> Signal:
        """The figures over all that was added."""
        return Signal(sqnr_db=self._sqnr_db(), cosine=self._cosine())

    def _sqnr_db(self) -> float:
        if self._noise == 0:
            return _LIMIT_DB
        if self._signal == 0:
            return -_LIMIT_DB
        return min(_LIMIT_DB, max(-_LIMIT_DB, 10 * math.log10(self._signal / self._noise)))

    def _cosine(self) -> float:
        if self._noise == 0:
            return 1.0
        norm = math.sqrt(self._signal) * math.sqrt(self._other)
        return max(-1.0, min(1.0, self._product / norm)) if norm else 0.0


def chunks(outputs: Array, samples: int) -> Iterator[slice]:
    """The first samples in order, as many at a time as are looked at together."""
    step = max(1, _CHUNK_BYTES // max(1, outputs[:1].nbytes))
    for start in range(0, samples, step):
        yield slice(start, min(samples, start + step))


def _dot(left: Array, right: Array) -> float:
    """A sum of products on one thread: the arrays are small, and those that BLAS wakes cost more than they bring."""
    return float(np.einsum("i,i->", left, right))


class Power(NamedTuple):
    """The power of a signal and of its noise, both summed over all samples, and the cosine of both tensors."""

    signal: float
    noise: float
    cosine: float

    @property
    def sqnr_db(self) -> float:
        """Signal to noise, in decibels."""
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf


def contradicted(artifact: Wiring, powers: Mapping[int, Power], derived: frozenset[int]) -> frozenset[int]:
    """The tensors of the artifact whose pair is not proved, or cannot be right.

    Args:
        artifact: the operators and their tensors.
        powers: of each tensor that was compared; a tensor that conversions made of another may be among them.
        derived: those whose pair follows from the structure; of the others only what is alike proves them.
    """
    return _Proof(artifact, powers, derived).run()


class _Proof:
    def __init__(self, artifact: Wiring, powers: Mapping[int, Power], derived: frozenset[int]) -> None:
        self._artifact, self._powers, self._derived = artifact, powers, derived
        self._most: dict[int, float] = {}
        self._wrong: set[int] = set()
        # Inputs are fed the same: what they lose is their own.
        made_of = artifact.origins()
        self._fed = {tensor for tensor, origin in made_of.items() if origin in artifact.inputs}

    def run(self) -> frozenset[int]:
        readers: dict[int, list[Node]] = {}
        for node in self._artifact.nodes:
            for tensor in node.reads:
                readers.setdefault(tensor, []).append(node)
        # What reads a tensor stands behind what writes it.
        for node in reversed(self._artifact.nodes):
            for tensor in node.writes:
                self._judge(tensor, readers.get(tensor, []))
        return frozenset(self._wrong)

    def _judge(self, tensor: int, readers: list[Node]) -> None:
        """Whether a tensor's pair is wrong, and how much noise it has at most."""
        power = self._powers.get(tensor)
        if power is None:
            return
        most = min((bound for node in readers for bound in self._bounds(node, tensor, power)), default=math.inf)
        hardly = power.sqnr_db < _HARDLY_ALIKE_DB
        scaled = hardly and abs(power.cosine) > _SAME_DIRECTION
        guessed = tensor not in self._derived
        if tensor not in self._fed and hardly and (guessed or power.noise > most or scaled):
            self._wrong.add(tensor)
            self._most[tensor] = most
        else:
            self._most[tensor] = power.noise

    def _bounds(self, node: Node, tensor: int, power: Power) -> Iterator[float]:
        """The noise power that a tensor has at most for what each output of a reader tells."""
        for written in node.writes:
            after = self._powers.get(written)
            if after is None or math.isinf(most := self._most.get(written, math.inf)):
                continue
            share = most / after.signal if after.signal else math.inf
            if node.kind in _SUMS:
                yield _LOST_IN_SUMS * most
            elif node.kind in _PRODUCTS:
                yield _LOST_IN_PRODUCTS * share * power.signal
            elif node.kind in _MEANS:
                averaged = self._size(tensor) / max(1, self._size(written))
                yield _LOST_IN_SUMS * averaged * share * power.signal

    def _size(self, tensor: int) -> int:
        return math.prod(abs(extent) for extent in self._artifact.tensors[tensor].shape)
