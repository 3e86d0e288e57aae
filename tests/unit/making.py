"""Makers of the nouns that several tests need: each takes what a test cares for and fills in the rest."""

from __future__ import annotations

from typing import Any

import msgspec

from edgebuild import config, targets
from edgebuild.core.budget import Budget, Level, Subject, Unit
from edgebuild.core.manifest import Accuracy, Artifact, DataRecord, Inputs, Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec, ModelSpec, Operator, TensorSpec
from edgebuild.core.passes import Cluster, Compression, DType, Prune, Quantize, QuantizeAware, Scheme
from edgebuild.core.plan import Plan, Source, Split
from edgebuild.core.settings import Preprocess
from edgebuild.core.target import Interpreter, Kernels, Operators, Runtime
from edgebuild.core.verdict import Verdict
from edgebuild.gating.gate import judge
from edgebuild.layering import Layer

SETTINGS = config.load({}, {}, use_file=False).settings
ACCURACY = Metric(name="accuracy", k=5, output=0, lower_is_better=False)
IDENTITY = Preprocess(scale=1.0, mean=0.0)
INT8 = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False, sparse=False)
MODEL = Source(kind="file", path="nets/kws.keras", sha256="ab" * 32)
DATA = Source(kind="file", path="kws.npz", sha256="cd" * 32)


def asked(**passes: Any) -> tuple[Compression, ...]:
    """The passes that these tables ask for, with the defaults of all that they leave out."""
    over = {"passes": {"channels": "off", **passes}}
    return targets.load("mcu", ACCURACY, [Layer("test", over)]).target.passes.compressions


(PRUNE,) = asked(prune={"sparsity": "50 %"})
(CLUSTER,) = asked(cluster={})
(QAT,) = asked(qat={})


def prune_with(**fields: Any) -> Prune:
    assert isinstance(PRUNE, Prune)
    return msgspec.structs.replace(PRUNE, **fields)


def cluster_with(**fields: Any) -> Cluster:
    assert isinstance(CLUSTER, Cluster)
    return msgspec.structs.replace(CLUSTER, **fields)


def qat_with(**fields: Any) -> QuantizeAware:
    assert isinstance(QAT, QuantizeAware)
    return msgspec.structs.replace(QAT, **fields)


def metric(name: str, **fields: Any) -> Metric:
    return Metric(**{"name": name, "k": 5, "output": 0, "lower_is_better": False, **fields})


def tensor(name: str, shape: tuple[int, ...], dtype: str = "float32", **fields: Any) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape, **fields)


def operator(name: str, made: str = "", **fields: Any) -> Operator:
    return Operator(**{"name": name, "version": 1, "tensor": made, "dtypes": ("int8",), "runtime": "", **fields})


def network(**fields: Any) -> ModelSpec:
    spec = {
        "inputs": (tensor("image", (1, 8, 8, 1)),),
        "outputs": (tensor("scores", (1, 10)),),
        "layers": ("conv", "dense"),
        "parameters": 1234,
        "framework": "keras 3.12",
    }
    return ModelSpec(**{**spec, **fields})


def artifact(**fields: Any) -> ArtifactSpec:
    spec = {
        "inputs": (tensor("image", (1, 8, 8, 1), "int8", scale=0.1, index=0),),
        "outputs": (tensor("scores", (1, 10), "int8", scale=0.1, index=3),),
        "operators": (operator("CONV_2D", "net/conv/Conv2D"), operator("FULLY_CONNECTED", "net/dense/MatMul")),
        "signatures": ("serving_default",),
        "activations_bytes": 640,
    }
    return ArtifactSpec(**{**spec, **fields})


def plan(**fields: Any) -> Plan:
    spec = {
        "target": "mcu",
        "name": "kws",
        "model": MODEL,
        "data": DATA,
        "input_shape": (),
        "signature": "",
        "allow_code": False,
        "preprocess": IDENTITY,
        "split": Split(calibration_samples=200, evaluation_share=0.2, seed=0),
        "passes": (INT8,),
        "train": SETTINGS.train,
        "distill": SETTINGS.distill,
        "learns_from": (),
        "runtime": Runtime(name=Interpreter.TFLM, kernels=Kernels.REFERENCE),
        "operators": Operators(float=False, allowed=("CONV_2D", "FULLY_CONNECTED")),
        "metric": ACCURACY,
        "bench": SETTINGS.bench,
        "budgets": (),
    }
    return Plan(**{**spec, **fields})


def budget(subject: str, limit: float, **fields: Any) -> Budget:
    return Budget(**{"subject": Subject(subject), "limit": limit, "unit": Subject(subject).unit, **fields})


def figure(subject: str, value: float, **fields: Any) -> Measurement:
    spec = {"unit": Subject(subject).unit, "mode": Mode.MEASURED, "where": "file"}
    return Measurement(subject=Subject(subject), value=value, **{**spec, **fields})


def verdict(budgets: tuple[Budget, ...], measurements: tuple[Measurement, ...]) -> Verdict:
    return judge(budgets, measurements, lower_is_better=False)


FIGURES = (
    figure("size", 48_480),
    figure("gzip_size", 31_000),
    figure("activations", 16_640, mode=Mode.ESTIMATED),
    figure("accuracy", 0.914, where="host", kernels="reference", settings={"samples": 1000}),
    figure("accuracy_drop", 0.012, where="host", kernels="reference", settings={"samples": 1000}),
    figure(
        "latency",
        0.000215,
        where="host",
        machine="x86_64, Some Processor, 2 cores",
        kernels="reference",
        samples=(0.000215, 0.000214, 0.00025),
        statistics={"median": 0.000215, "p90": 0.00025, "min": 0.000214, "max": 0.00025},
        settings={"threads": 1, "workers": 3},
        versions={"ai-edge-litert": "2.3.0"},
    ),
    figure("peak_memory", 2_100_000, where="host", kernels="reference", settings={"threads": 1}),
)


def manifest(budgets: tuple[Budget, ...] = (), **fields: Any) -> Manifest:
    """A build for the target mcu, judged by the given budgets."""
    record = DataRecord(
        source=DATA,
        train_samples=2200,
        calibration_samples=200,
        evaluation_samples=1000,
        calibration_sha256="01" * 32,
        evaluation_sha256="23" * 32,
        labels=("no", "yes"),
    )
    spec = {
        "edgebuild": "0.1.0",
        "name": "kws",
        "target": "mcu",
        "artifact": Artifact(path="kws.tflite", sha256="ef" * 32, size_bytes=48_480, size_gzip_bytes=31_000),
        "accuracy": Accuracy(
            metric="accuracy", baseline=0.926, artifact=0.914, samples=1000, lower_is_better=False, unit=Unit.SHARE
        ),
        "measurements": FIGURES,
        "plan": plan(budgets=budgets, passes=(PRUNE, INT8)),
        "network": artifact(),
        "toolchain": {"tensorflow": "2.21.0"},
        "inputs": Inputs(model=MODEL, network=network(), network_sha256="e" * 64, data=record),
        "notes": ("no calibration split was given: 200 samples were drawn from train (seed 0)",),
    }
    spec.update(fields)
    spec.setdefault("verdict", verdict(budgets, spec["measurements"]))
    return Manifest(**spec)


def settings(**tables: Any) -> Any:
    """Settings as edgebuild would read them from these options alone."""
    return config.load(tables, {}, use_file=False).settings


WARN = Level.WARN
