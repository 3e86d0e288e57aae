"""The signal lost at each operator of an artifact, held against the float network run on the same samples.

Both run with all their tensors kept. LiteRT then hands operators to XNNPACK one at a time, which computes what it
computes of whole graphs: the figures are those of the target's kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgebuild.actions.fidelity import LayerLossJob
from edgebuild.child import Say, paced
from edgebuild.core.losses import LayerLoss, LayerLosses
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.target import Kernels
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.readback import layers_of
from edgebuild.runtimes import interpreters
from edgebuild.runtimes.fidelity import matching
from edgebuild.runtimes.fidelity.matching import Node, Wiring
from edgebuild.runtimes.fidelity.signal import Sums, contradicted

# Reference kernels take some seconds for this many.
_MOST_MACS = 2 * 10**9
_FEWEST_SAMPLES = 4


def layer_loss(job: LayerLossJob, say: Say) -> LayerLosses:
    """Run both networks on samples and compare what their operators wrote, as far as the pairs are proved.

    Raises:
        StepError: the interpreter refused one of them.
    """
    artifact = matching.read_wiring(Path(job.artifact), job.spec)
    reference = matching.read_wiring(Path(job.reference), job.reference_spec)
    rows = _rows(job)
    pairs = matching.counterparts(artifact, reference)
    sums = _run(job, _computed(pairs.same, artifact, reference), rows, say)
    powers = {tensor: part.power for tensor, part in sums.items()}
    wrong = contradicted(artifact, powers, pairs.derived)
    proved = {tensor: part for tensor, part in sums.items() if tensor not in wrong}
    scored = artifact.behind(artifact.outputs[job.output : job.output + 1])
    layers, unmatched, unproved = [], [], []
    for node in _losing(artifact, job.spec):
        described = _described(node, artifact, job, proved)
        if not wrong.isdisjoint(node.writes):
            unproved.append(_name(node, job))
        elif described is None:
            unmatched.append(_name(node, job))
        else:
            layers.append(msgspec.structs.replace(described, is_scored=node.position in scored))
    return LayerLosses(
        split=job.split,
        samples=len(rows),
        kernels=job.kernels,
        layers=tuple(layers),
        unmatched=tuple(unmatched),
        unproved=tuple(unproved),
    )


def _computed(same: dict[int, int], artifact: Wiring, reference: Wiring) -> dict[int, int]:
    """The pairs of tensors that both interpreters compute; XNNPACK leaves out an output that nobody reads."""
    own_used, other_used = artifact.used, reference.used
    return {own: other for own, other in same.items() if own in own_used and other in other_used}


def _rows(job: LayerLossJob) -> Array:
    """Evenly spread positions of samples: splits are often sorted by class."""
    available = len(Samples(Path(job.samples), job.preprocess))
    affordable = max(_FEWEST_SAMPLES, _MOST_MACS // max(1, job.spec.macs))
    count = min(job.most_samples, available, affordable)
    return np.linspace(0, available - 1, count).round().astype(np.intp)


def _run(job: LayerLossJob, same: dict[int, int], rows: Array, say: Say) -> dict[int, Sums]:
    """For each tensor of the artifact that could be compared its sums over all samples."""
    own = _Kept(job.artifact, job.spec, job.kernels)
    other = _Kept(job.reference, job.reference_spec, Kernels.XNNPACK)
    # What holds whole numbers in the float network too (shapes, positions) is no signal.
    compared = [(mine, its) for mine, its in same.items() if other.is_float(its) and own.is_real(mine)]
    samples = Samples(Path(job.samples), job.preprocess)
    dtypes = [np.dtype(spec.dtype) for spec in job.reference_spec.inputs]
    sums = {mine: Sums() for mine, _ in compared}
    tell = paced(say)
    for done, row in enumerate(rows):
        fed = samples.take(np.asarray([row]), dtypes)
        own.run(fed)
        other.run(fed)
        for mine, its in compared:
            sums[mine].add(other.real(its), own.real(mine))
        tell(f"{done + 1:,} of {len(rows):,} samples")
    return sums


class _Kept:
    """An interpreter that keeps what each operator writes."""

    def __init__(self, path: str, spec: ArtifactSpec, kernels: Kernels) -> None:
        self._name, self._kernels, self._spec = Path(path).name, kernels, spec
        self._interpreter = interpreters.load(path, self._name, kernels, threads=1, keeps_tensors=True)
        self._details: dict[int, Any] = {item["index"]: item for item in self._interpreter.get_tensor_details()}

    def is_float(self, tensor: int) -> bool:
        return tensor in self._details and np.dtype(self._details[tensor]["dtype"]).kind == "f"

    def is_real(self, tensor: int) -> bool:
        """Whether a tensor holds real numbers, as they are or quantized."""
        return self.is_float(tensor) or (tensor in self._details and self._scales(tensor).size == 1)

    def run(self, arrays: list[Array]) -> None:
        """Run one sample of real-valued inputs, each [1, ...]."""
        with interpreters.refusals(self._name, self._kernels):
            for array, spec in zip(arrays, self._spec.inputs, strict=True):
                self._interpreter.set_tensor(spec.index, interpreters.stored(array, spec))
            self._interpreter.invoke()

    def real(self, tensor: int) -> Array:
        """The real values of a tensor that the last run left."""
        with interpreters.refusals(self._name, self._kernels):
            values: Array = self._interpreter.get_tensor(tensor)
        if values.dtype.kind == "f":
            return values
        zero_point = self._details[tensor]["quantization_parameters"]["zero_points"][0]
        return np.asarray((values.astype(np.float64) - zero_point) * self._scales(tensor)[0])

    def _scales(self, tensor: int) -> Array:
        return np.asarray(self._details[tensor]["quantization_parameters"]["scales"])


def _losing(artifact: Wiring, spec: ArtifactSpec) -> Iterator[Node]:
    """The operators that may lose something: all but those that only widen."""
    for node in artifact.nodes:
        if spec.operators[node.position].name != "DEQUANTIZE":
            yield node


def _described(node: Node, artifact: Wiring, job: LayerLossJob, sums: dict[int, Sums]) -> LayerLoss | None:
    written = [sums[tensor] for tensor in node.writes if tensor in sums]
    if not written:
        return None
    # Of several outputs the worst stands for the operator.
    signal = min((part.signal() for part in written), key=lambda part: part.sqnr_db)
    return LayerLoss(
        operator=node.kind,
        position=node.position,
        layers=_layers(node, job),
        signal=signal,
        input_sqnr_db=_input_sqnr_db(node, artifact, sums),
    )


def _input_sqnr_db(node: Node, artifact: Wiring, sums: dict[int, Sums]) -> float | None:
    """Of the worst signal that an operator reads; what cannot be compared is looked for further up."""
    makers = {tensor: maker for maker in artifact.nodes for tensor in maker.writes}
    pending, seen, found = list(node.reads), set(node.reads), []
    while pending:
        tensor = pending.pop()
        if tensor in sums:
            found.append(sums[tensor].signal().sqnr_db)
        elif tensor in makers:
            further = [read for read in makers[tensor].reads if read not in seen]
            seen.update(further)
            pending += further
    return min(found, default=None)


def _layers(node: Node, job: LayerLossJob) -> tuple[str, ...]:
    return layers_of(job.spec.operators[node.position].tensor, job.layers)


def _name(node: Node, job: LayerLossJob) -> str:
    """An operator with the layers it came from, for people: "ADD (from add)"."""
    tensor = job.spec.operators[node.position].tensor
    return f"{node.kind} (from {', '.join(_layers(node, job)) or tensor.split(';')[0]})"
