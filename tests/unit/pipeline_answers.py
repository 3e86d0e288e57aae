"""Answers of a fake executor for whole builds: files of one dense layer, and figures that follow from what was done.

What was done to a network is a text that travels with it: "net" as it was given, "net+channels" once its channels are
pruned; an artifact is "net+channels int8". What a test says of such a text is what a build finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from making import metric, network, tensor
from tflite_networks import TYPE, Network

from edgebuild.actions.compression import PASSES, Compressed, CompressJob
from edgebuild.actions.conversion import ARTIFACT, Converted, Described, Leaned, LeanJob, QuantizeJob, Sources
from edgebuild.actions.datasets import Linted, Splits
from edgebuild.actions.fidelity import LayerLossJob, OutputLossJob, Outputs
from edgebuild.actions.measuring import Measured, MeasureJob, Timing
from edgebuild.actions.networks import NETWORK, SAVED_MODEL, Called, Carried, FreezeJob, Frozen
from edgebuild.actions.runtimes import MissingKernels, Ran
from edgebuild.actions.scores import Baseline, Score, ScoreAtJob, ScoreJob
from edgebuild.core.arena import Arena
from edgebuild.core.budget import Subject
from edgebuild.core.delivery import Leaner, Vector
from edgebuild.core.losses import OUTPUTS, LayerLosses, OutputLoss, Signal
from edgebuild.core.mapping import Mapping, Parity
from edgebuild.core.measurement import Mode
from edgebuild.core.passes import DType, Scheme
from edgebuild.errors import EdgebuildError
from edgebuild.execution.fake import Answer
from edgebuild.flatbuffer import reader

SAMPLES = 200
_TEXT = "text"


class Bench:
    """What a build is told; its tables are changed by tests.

    Attributes:
        scores: of artifacts, by their texts; 0.9 for others.
        worse: of how many samples an artifact alone is wrong, against one that it is compared with.
        errors: what actions fail with, by "KIND TEXT", or by "KIND".
        findings: faults of the data.
    """

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}
        self.worse: dict[tuple[str, str], int] = {}
        self.errors: dict[str, EdgebuildError] = {}
        self.findings: tuple[Any, ...] = ()
        self._texts: dict[str, str] = {}  # of artifacts, by their bytes

    def answers(self) -> dict[str, Answer]:
        """The table of a fake executor."""
        table: dict[str, Callable[[Any, Path], msgspec.Struct]] = {
            "call": self._call,
            "freeze": self._freeze,
            "carry": self._carry,
            "split": self._split,
            "lint": lambda *_: Linted(findings=self.findings),
            "baseline": self._baseline,
            "quantize": self._quantize,
            "lean": self._lean,
            "metadata": self._metadata,
            "firmware": lambda *_: Sources(paths=(), flash_bytes=1000),
            "runs": lambda job, _: self._checked("runs", job.artifact, Ran()),
            "tflm-runs": lambda *_: Ran(),
            "tflm-kernels": self._kernels,
            "tflm-arena": lambda *_: Arena(
                required_bytes=2000, recorded_bytes=1900, head_bytes=500, tail_bytes=1400, parts=()
            ),
            "tflm-sample": lambda *_: Vector(inputs=(b"1",), outputs=(b"2",)),
            "score": self._score,
            "tflm-score": self._score,
            "output-loss": self._output_loss,
            "layer-loss": self._layer_loss,
            "delegation": lambda *_: Mapping(
                accelerator="xnnpack", mode=Mode.MEASURED, source="a table", places=(), partitions=0
            ),
            "outputs": lambda *_: Outputs(samples=SAMPLES),
            "parity": lambda job, _: Parity(kernels=job.kernels, samples=1, differing_answers=0, outputs=()),
            "measure": self._measure,
            "score-at": self._score_at,
        }
        return table | dict.fromkeys(PASSES, self._pass)

    def text(self, artifact: bytes) -> str:
        """What was done to make an artifact."""
        return self._texts[hashlib.sha256(artifact).hexdigest()]

    def _fail(self, kind: str, text: str) -> None:
        error = self.errors.get(f"{kind} {text}") or self.errors.get(kind)
        if error is not None:
            raise error

    def _checked(self, kind: str, artifact: str, answer: Any) -> Any:
        self._fail(kind, self.text(Path(artifact).read_bytes()))
        return answer

    def _kernels(self, *_: Any) -> MissingKernels:
        self._fail("tflm-kernels", "")
        return MissingKernels(operators=())

    def _call(self, job: FreezeJob, out: Path) -> Called:
        return Called(frozen=self._freeze(job, out), carried=self._carry(job, out))

    def _freeze(self, job: FreezeJob, out: Path) -> Frozen:
        text = Path(job.path).read_text() if job.kind == "graph" else "net"
        self._fail("freeze", text)
        (out / SAVED_MODEL).mkdir()
        (out / SAVED_MODEL / _TEXT).write_text(text)
        made = network(inputs=(tensor("x", (1, 4)),), outputs=(tensor("y", (1, 3)),), layers=("dense",))
        return Frozen(network=made, batched=True, identity_sha256=text, recurrent=job.recurrent)

    def _carry(self, _: FreezeJob, out: Path) -> Carried:
        self._fail("carry", "net")
        (out / NETWORK).write_text("net")
        return Carried(identity_sha256="net", parameters=15, layers=("dense",), notes=())

    def _pass(self, job: CompressJob, out: Path) -> Compressed:
        kind = msgspec.to_builtins(job.settings)["kind"]
        before = Path(job.network).read_text()
        self._fail(kind, before)
        (out / NETWORK).write_text(f"{before}+{kind}")
        return Compressed(identity_sha256=f"{before}+{kind}", parameters=15, notes=(f"{kind} was done",))

    def _split(self, _: Any, out: Path) -> Splits:
        for name in ("learning", "calibration", "evaluation"):
            (out / name).mkdir()
            (out / name / "x").write_text(name)
        return Splits(
            train_samples=SAMPLES,
            calibration_samples=50,
            evaluation_samples=SAMPLES,
            given_samples=SAMPLES,
            learning_samples=SAMPLES,
            learning_sha256="learning",
            calibration_sha256="calibration",
            evaluation_sha256="evaluation",
            has_answers=True,
            learning_has_answers=True,
            labels=(),
            notes=("it was divided",),
        )

    def _baseline(self, _: Any, out: Path) -> Baseline:
        (out / OUTPUTS).write_text("net float")
        return Baseline(score=0.9, samples=SAMPLES, metric=metric("accuracy"))

    def _quantize(self, job: QuantizeJob, out: Path) -> Converted:
        scheme = str(job.quantize.scheme) + (" with floats" if job.quantize.float_layers else "")
        text = f"{(Path(job.saved_model) / _TEXT).read_text()} {scheme}"
        self._fail("quantize", text)
        is_int8 = job.quantize.scheme in (Scheme.INT8, Scheme.INT16X8)
        data = dense_file(text, is_int8=is_int8, has_float_ends=job.quantize.input == DType.FLOAT32)
        self._texts[hashlib.sha256(data).hexdigest()] = text
        (out / ARTIFACT).write_bytes(data)
        return Converted(artifact=reader.parse(data, "the artifact"))

    def _lean(self, job: LeanJob, out: Path) -> Leaned:
        data = Path(job.artifact).read_bytes()
        (out / ARTIFACT).write_bytes(data)
        leaner = Leaner(
            before_bytes=len(data),
            after_bytes=len(data),
            payload_bytes=12,
            before_activations_bytes=16,
            after_activations_bytes=16,
            verified_on=("a table",),
        )
        spec = reader.parse(data, "the artifact")
        return Leaned(leaner=leaner, before={}, after={}, tensors=tuple(item.tensor for item in spec.operators))

    def _metadata(self, job: Any, out: Path) -> Described:
        data = Path(job.artifact).read_bytes()
        (out / ARTIFACT).write_bytes(data)
        return Described(size_bytes=len(data))

    def _score(self, job: ScoreJob, out: Path) -> Score:
        text = self.text(Path(job.artifact).read_bytes())
        self._fail("score", text)
        (out / OUTPUTS).write_text(text)
        return Score(score=self.scores.get(text, 0.9), samples=job.most or SAMPLES)

    def _score_at(self, job: ScoreAtJob, out: Path) -> Score:
        self._fail("score-at", "")
        return self._score(job.score, out)

    def _output_loss(self, job: OutputLossJob, _: Path) -> OutputLoss:
        one, other = ((Path(folder) / OUTPUTS).read_text() for folder in (job.baseline, job.artifact))
        self._fail("output-loss", other)
        signal = Signal(sqnr_db=30.0, cosine=1.0)
        return OutputLoss(samples=SAMPLES, signal=signal, worse=self.worse.get((one, other), 0))

    def _layer_loss(self, job: LayerLossJob, _: Path) -> LayerLosses:
        self._fail("layer-loss", self.text(Path(job.artifact).read_bytes()))
        return LayerLosses(split=job.split, samples=1, kernels=str(job.kernels), layers=())

    def _measure(self, job: MeasureJob, _: Path) -> Measured:
        self._fail("measure", self.text(Path(job.artifact).read_bytes()))
        value = 1e-4
        timing = Timing(
            subject=Subject.INSTRUCTIONS if job.place.emulates else Subject.LATENCY,
            machine="a machine",
            kernels=str(job.kernels),
            versions={},
            blocks=((value,),),
            processes=(1,),
            statistics={"median": value},
            intervals={"median": (value, value)},
        )
        return Measured(artifact=timing)


def dense_file(text: str, *, is_int8: bool, has_float_ends: bool) -> bytes:
    """A file of one dense layer, of other weights for each text."""
    net, code = Network(), schema.BuiltinOperator
    weights = [byte % 100 for byte in hashlib.sha256(text.encode()).digest()[:12]]
    fine: dict[str, Any] = {"scale": [0.5], "zero_point": [0]}
    options = schema.FullyConnectedOptionsT()
    if not is_int8:
        given, made = net.tensor("x", [1, 4]), net.tensor("net/dense/MatMul", [1, 3])
        kernel = net.tensor("w", [3, 4], constant=True, data=list(np.asarray(weights, np.float32).tobytes()))
        net.operator(code.FULLY_CONNECTED, [given, kernel], [made], options=options)
        return net.packed([given], [made])
    given = net.tensor("x", [1, 4]) if has_float_ends else None
    taken = net.tensor("x_int8" if has_float_ends else "x", [1, 4], TYPE.INT8, **fine)
    kernel = net.tensor("w", [3, 4], TYPE.INT8, constant=True, data=weights, **fine)
    made = net.tensor("net/dense/MatMul", [1, 3], TYPE.INT8, **fine)
    if given is not None:
        net.operator(code.QUANTIZE, [given], [taken])
    net.operator(code.FULLY_CONNECTED, [taken, kernel], [made], version=4, options=options)
    if given is None:
        return net.packed([taken], [made])
    last = net.tensor("y", [1, 3])
    net.operator(code.DEQUANTIZE, [made], [last], version=2)
    return net.packed([given], [last])
