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
from dense_files import dense_file
from making import metric, network, tensor
from tflite_networks import TYPE

from edgebuild.actions.compression import PASSES, Compressed, CompressJob, Layers, LayerTimes
from edgebuild.actions.conversion import ARTIFACT, Converted, Described, Leaned, LeanJob, QuantizeJob, Sources
from edgebuild.actions.datasets import Linted, Splits
from edgebuild.actions.fidelity import LayerLossJob, OutputLossJob, Outputs, OutputsJob
from edgebuild.actions.measuring import Measured, MeasureJob, OperatorTimesJob, Ratio, Timing
from edgebuild.actions.networks import (
    EXAMPLE_DATA,
    EXAMPLE_MODEL,
    NETWORK,
    SAVED_MODEL,
    Called,
    Carried,
    FreezeJob,
    Frozen,
    Trained,
)
from edgebuild.actions.runtimes import KernelsJob, MissingKernels, Ran, RunsJob
from edgebuild.actions.scores import Baseline, Score, ScoreAtJob, ScoreJob
from edgebuild.core.benched import OperatorTimes
from edgebuild.core.budget import Subject
from edgebuild.core.delivery import Leaner, Vector
from edgebuild.core.device import Arena, EdgeTpu, Mapping, ParameterCache, Parity, Place as Fate
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.losses import OUTPUTS, LayerLoss, LayerLosses, OutputLoss, Signal
from edgebuild.core.measurement import Mode
from edgebuild.core.passes import DType, Scheme
from edgebuild.errors import EdgebuildError
from edgebuild.execution.fake import Answer
from edgebuild.flatbuffer import reader

SAMPLES = 200
SPLITS = Splits(
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
ENDS = {"inputs": (tensor("x", (1, 4)),), "outputs": (tensor("y", (1, 3)),)}
ARENA = Arena(required_bytes=2000, recorded_bytes=1900, head_bytes=500, tail_bytes=1400, parts=())
VECTOR = Vector(inputs=(b"1",), outputs=(b"2",))
SHAPE = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=4, out_channels=3, dtype="int8")
_COMPUTES = {Scheme.INT8: TYPE.INT8, Scheme.INT16X8: TYPE.INT16}
_TEXT = "text"


class Bench:
    """What a build is told; its tables are changed by tests.

    Attributes:
        scores: of artifacts, by their texts; 0.9 for others.
        worse: of how many samples an artifact alone is wrong, against one that it is compared with.
        errors: what actions fail with, by "KIND TEXT" or "KIND": of runs and packing also by their kernels, of what is
            done at a place by its label.
        findings: faults of the data.
        frozen: of the network as it is frozen, by the kind that is given: "file", "callable", or "graph" of passes.
        splits: of the data as they are divided.
        tails: names of operators that follow the dense layer of an artifact, by its text.
        keeps_state: whether artifacts carry state over from one inference to the next.
        missing: what TensorFlow Lite Micro has no kernels for.
        costs: of an inference in the unit of the place, by an artifact's text and the place; 1e-4 for others.
        timing: fields of what is measured at places.
        reset_score: of artifacts whose state is reset before each sample; None for the same.
        losses: fields of what outputs lost, by the texts of both.
        layers: what each operator lost, of all artifacts.
        npu: what the compilers of accelerators tell.
        firmware: the files of its sources.
        frozen_as: likewise, of what the kind "file" is frozen as, by its settings.
        changed: fields of what a pass made of a network, by its kind.
        instead: answers in place of all that, by kinds.
    """

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}
        self.worse: dict[tuple[str, str], int] = {}
        self.errors: dict[str, EdgebuildError] = {}
        self.findings: tuple[Any, ...] = ()
        self.frozen: dict[str, dict[str, Any]] = {}
        self.frozen_as: Callable[[Any], dict[str, Any]] = lambda job: self.frozen.get(job.kind, {})
        self.splits: dict[str, Any] = {}
        self.tails: dict[str, tuple[str, ...]] = {}
        self.keeps_state = False
        self.missing: tuple[str, ...] = ()
        self.costs: dict[tuple[str, str], float] = {}
        self.timing: dict[str, Any] = {}
        self.reset_score: float | None = None
        self.losses: dict[tuple[str, str], dict[str, Any]] = {}
        self.layers: tuple[LayerLoss, ...] = ()
        cache = ParameterCache(mode=Mode.ESTIMATED, cached_bytes=12, streamed_bytes=0)
        self.npu: Any = EdgeTpu(mapping=mapping("edgetpu"), cache=cache)
        self.firmware: dict[str, str] = {}
        self.changed: dict[str, dict[str, Any]] = {}
        self.instead: dict[str, Callable[[Any, Path], msgspec.Struct]] = {}
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
            "firmware": self._firmware,
            "runs": self._runs,
            "tflm-runs": lambda job, _: self._checked("tflm-runs", job.artifact, Ran()),
            "tflm-kernels": self._kernels,
            "tflm-arena": lambda job, _: self._checked("tflm-arena", job.artifact, ARENA),
            "tflm-sample": lambda job, _: self._checked("tflm-sample", job.artifact, VECTOR),
            "score": self._score,
            "tflm-score": self._score,
            "output-loss": self._output_loss,
            "layer-loss": self._layer_loss,
            "delegation": lambda job, _: self._checked("delegation", job.artifact, mapping("xnnpack")),
            "edgetpu-rules": lambda job, _: self._checked("edgetpu-rules", job.artifact, self.npu),
            "edgetpu": lambda job, out: self._compiled("edgetpu", job, out),
            "ethos-u": lambda job, out: self._compiled("ethos-u", job, out),
            "compile": lambda job, out: self._compiled("compile", job, out),
            "outputs": self._outputs,
            "outputs-at": lambda job, _: Outputs(samples=SAMPLES),
            "parity": lambda job, _: Parity(kernels=job.kernels, samples=1, differing_answers=0, outputs=()),
            "measure": self._measure,
            "score-at": self._score_at,
            "example": self._example,
            "synthesize": self._synthesize,
            "layers": lambda *_: Layers(grids=((SHAPE, (SHAPE,)),)),
            "layer-times": lambda job, _: LayerTimes(times_s=(1e-5,) * len(job.layers), invocation_s=1e-6),
            "operator-times": self._operator_times,
        }
        return table | dict.fromkeys(PASSES, self._pass) | self.instead

    def text(self, artifact: bytes) -> str:
        """What was done to make an artifact; empty for one that was not made here."""
        return self._texts.get(hashlib.sha256(artifact).hexdigest(), "")

    def _fail(self, kind: str, text: str) -> None:
        error = self.errors.get(f"{kind} {text}") or self.errors.get(kind)
        if error is not None:
            raise error

    def _checked(self, kind: str, artifact: str, answer: Any) -> Any:
        self._fail(kind, self.text(Path(artifact).read_bytes()))
        return answer

    def _kernels(self, job: KernelsJob, _: Path) -> MissingKernels:
        self._fail("tflm-kernels", "")
        return MissingKernels(operators=tuple(name for name in job.operators if name in self.missing))

    def _runs(self, job: RunsJob, _: Path) -> Ran:
        self._fail("runs", str(job.kernels))
        return self._checked("runs", job.artifact, Ran())

    def _outputs(self, job: OutputsJob, _: Path) -> Outputs:
        self._fail("outputs", str(job.kernels))
        return Outputs(samples=SAMPLES)

    def _firmware(self, _: Any, out: Path) -> Sources:
        for name, text in self.firmware.items():
            (out / name).write_text(text)
        return Sources(paths=tuple(self.firmware), flash_bytes=1000)

    def _compiled(self, kind: str, job: Any, out: Path) -> Any:
        self._fail(kind, self.text(Path(job.artifact).read_bytes()))
        if self.npu.compiled:
            (out / self.npu.compiled).write_text("compiled")
        return self.npu

    def _example(self, _: Any, out: Path) -> Trained:
        (out / EXAMPLE_MODEL).write_text("an example")
        (out / EXAMPLE_DATA).write_text("its data")
        return Trained(epochs=1)

    def _synthesize(self, _: Any, out: Path) -> Splits:
        (out / "calibration").mkdir()
        return msgspec.structs.replace(
            SPLITS,
            **dict.fromkeys(("train_samples", "evaluation_samples", "given_samples", "learning_samples"), 0),
            **dict.fromkeys(("learning_sha256", "evaluation_sha256"), ""),
            **dict.fromkeys(("has_answers", "learning_has_answers"), False),
            notes=("it was made up",),
        )

    def _operator_times(self, job: OperatorTimesJob, _: Path) -> OperatorTimes:
        self._fail("operator-times", "with the profiler" if job.profiler else "without it")
        return OperatorTimes(
            mode=Mode.MEASURED if job.profiler else Mode.ESTIMATED,
            source="a table",
            kernels=str(job.kernels),
            threads=job.threads,
            whole_s=1e-4,
            beside_s=1e-6,
            operators=(),
            runs=1,
        )

    def _call(self, job: FreezeJob, out: Path) -> Called:
        return Called(frozen=self._freeze(job, out), carried=self._carry(job, out))

    def _freeze(self, job: FreezeJob, out: Path) -> Frozen:
        fields = dict(self.frozen_as(job))
        text = Path(job.path).read_text() if job.kind == "graph" else fields.pop("text", "net")
        self._fail("freeze", text)
        made = network(**{**ENDS, "layers": ("dense",), **fields.pop("network", {})})
        _saved(text, out)
        usual = {"network": made, "batched": True, "identity_sha256": text, "recurrent": job.recurrent}
        return Frozen(**{**usual, **fields})

    def _carry(self, _: FreezeJob, out: Path) -> Carried:
        self._fail("carry", "net")
        (out / NETWORK).write_text("net")
        return Carried(identity_sha256="net", parameters=15, layers=("dense",), notes=())

    def _pass(self, job: CompressJob, out: Path) -> Compressed:
        kind = msgspec.to_builtins(job.settings)["kind"]
        before = Path(job.network).read_text()
        self._fail(kind, before)
        fields = self.changed.get(kind, {})
        after = before if fields.get("instead") == {} else f"{before}+{kind}"
        (out / NETWORK).write_text(after)
        if "frozen" in fields:
            _saved(after, out)
        made = Compressed(identity_sha256=after, parameters=15, notes=(f"{kind} was done",))
        return msgspec.structs.replace(made, **fields)

    def _split(self, _: Any, out: Path) -> Splits:
        for name in ("learning", "calibration", "evaluation"):
            (out / name).mkdir()
            (out / name / "x").write_text(name)
        return msgspec.structs.replace(SPLITS, **self.splits)

    def _baseline(self, _: Any, out: Path) -> Baseline:
        (out / OUTPUTS).write_text("net float")
        return Baseline(score=0.9, samples=SAMPLES, metric=metric("accuracy"))

    def _quantize(self, job: QuantizeJob, out: Path) -> Converted:
        scheme = str(job.quantize.scheme) + (" with floats" if job.quantize.float_layers else "")
        text = f"{(Path(job.saved_model) / _TEXT).read_text()} {scheme}"
        self._fail("quantize", text)
        data = dense_file(
            text,
            dtype=_COMPUTES.get(job.quantize.scheme, TYPE.FLOAT32),
            has_float_ends=job.quantize.input == DType.FLOAT32,
            tail=self.tails.get(text, ()),
            keeps_state=self.keeps_state,
        )
        self._texts[hashlib.sha256(data).hexdigest()] = text
        (out / ARTIFACT).write_bytes(data)
        return Converted(artifact=reader.parse(data, "the artifact"))

    def _lean(self, job: LeanJob, out: Path) -> Leaned:
        data = Path(job.artifact).read_bytes()
        self._fail("lean", " ".join(job.kernels))
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
        self._fail("metadata", self.text(data))
        (out / ARTIFACT).write_bytes(data)
        return Described(size_bytes=len(data))

    def _score(self, job: ScoreJob, out: Path) -> Score:
        text = self.text(Path(job.artifact).read_bytes())
        self._fail("score", text)
        (out / OUTPUTS).write_text(text)
        score = self.scores.get(text, 0.9)
        if job.resets:
            self._fail("score", "reset")
            score = score if self.reset_score is None else self.reset_score
        return Score(score=score, samples=job.most or SAMPLES)

    def _score_at(self, job: ScoreAtJob, out: Path) -> Score:
        self._fail("score-at", job.at.place.label)
        return self._score(job.score, out)

    def _output_loss(self, job: OutputLossJob, _: Path) -> OutputLoss:
        one, other = ((Path(folder) / OUTPUTS).read_text() for folder in (job.baseline, job.artifact))
        self._fail("output-loss", other)
        signal = Signal(sqnr_db=30.0, cosine=1.0)
        lost = OutputLoss(samples=SAMPLES, signal=signal, worse=self.worse.get((one, other), 0))
        return msgspec.structs.replace(lost, **self.losses.get((one, other), {}))

    def _layer_loss(self, job: LayerLossJob, _: Path) -> LayerLosses:
        self._fail("layer-loss", self.text(Path(job.artifact).read_bytes()))
        return LayerLosses(split=job.split, samples=1, kernels=str(job.kernels), layers=self.layers)

    def _measure(self, job: MeasureJob, _: Path) -> Measured:
        self._fail("measure", self.text(Path(job.artifact).read_bytes()))
        self._fail("measure", job.place.label)
        timed = self._timing(job, job.artifact)
        if not job.baseline:
            return Measured(artifact=timed)
        try:
            self._fail("baseline of measure", job.place.label)
        except EdgebuildError as error:
            return Measured(artifact=timed, lacking=error.what)
        before = self._timing(job, job.baseline)
        ratio = timed.statistics["median"] / before.statistics["median"]
        ratios = {"median": Ratio(ratio=ratio, interval=(ratio, ratio), test="a table")}
        return Measured(artifact=timed, baseline=before, ratios=ratios)

    def _timing(self, job: MeasureJob, artifact: str) -> Timing:
        value = self.costs.get((self.text(Path(artifact).read_bytes()), job.place.label), 1e-4)
        timed = Timing(
            subject=Subject.INSTRUCTIONS if job.place.emulates else Subject.LATENCY,
            machine=f"aarch64, {job.place.label}",
            kernels=str(job.place.kernels or job.kernels),
            versions={},
            blocks=((value,),),
            processes=(1,),
            statistics={"median": value},
            intervals={"median": (value, value)},
        )
        return msgspec.structs.replace(timed, **self.timing)


def _saved(text: str, out: Path) -> None:
    (out / SAVED_MODEL).mkdir()
    (out / SAVED_MODEL / _TEXT).write_text(text)


def mapping(accelerator: str, *places: Fate) -> Mapping:
    """What becomes of operators."""
    return Mapping(accelerator=accelerator, mode=Mode.MEASURED, source="a table", places=places, partitions=1)
