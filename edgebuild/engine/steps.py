"""The steps of a build: for each, what decides its result, and the job that makes it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgebuild import hashing, host
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.plan import Plan, Source
from edgebuild.engine.session import Step
from edgebuild.passes import jobs
from edgebuild.report import wording
from edgebuild.runtimes.jobs import BenchJob, ScoreJob


class Network(NamedTuple):
    """A frozen network: what it is, and where its SavedModel lies."""

    frozen: jobs.Frozen
    path: Path


class Data(NamedTuple):
    """Divided data: what they are, and where the splits lie."""

    splits: jobs.Splits
    path: Path


class Built(NamedTuple):
    """An artifact that fits its plan: where it lies, and what was read back from it."""

    plan: Plan
    path: Path
    spec: ArtifactSpec


def example(seed: int) -> Step:
    """Train the embedded example."""
    return Step("example", "train the example", seed, lambda out: jobs.ExampleJob(out=str(out), seed=seed))


def freeze(plan: Plan, model: Source, path: str) -> Step:
    """Load the network at a path and fix its shapes; a function is called each time, since nothing tells its result."""
    return Step(
        "freeze",
        f"load {plan.name} and fix its shapes",
        None if model.kind == "callable" else [model.sha256, model.kind, plan.input_shape, plan.allow_code],
        lambda out: jobs.FreezeJob(
            kind=model.kind,
            path=path,
            input_shape=plan.input_shape,
            allow_code=plan.allow_code,
            out=str(out),
        ),
    )


def split(plan: Plan, data: Source, path: str, network: Network) -> Step:
    """Read the data at a path and divide them; a function is called each time."""
    inputs = network.frozen.network.inputs
    return Step(
        "split",
        "read the data and divide them",
        None if data.kind == "callable" else [data.sha256, data.kind, inputs, plan.split],
        lambda out: jobs.SplitJob(kind=data.kind, path=path, inputs=inputs, split=plan.split, out=str(out)),
    )


def baseline(plan: Plan, network: Network, data: Data, code: tuple[str, ...]) -> Step:
    """Score the float network."""
    return Step(
        "baseline",
        f"score the float network on {data.splits.evaluation_samples:,} samples",
        [network.frozen.identity_sha256, _scoring(plan, data, code)],
        lambda out: jobs.BaselineJob(
            saved_model=str(network.path),
            batched=network.frozen.batched,
            evaluation=str(data.path / jobs.EVALUATION),
            preprocess=plan.preprocess,
            metric=plan.metric,
            out=str(out),
        ),
    )


def quantize(plan: Plan, network: Network, data: Data | None) -> Step:
    """Convert to the plan's scheme."""
    calibrates = plan.quantize.scheme.needs_calibration and data is not None and data.splits.calibration_samples
    calibration = data if calibrates else None
    return Step(
        "quantize",
        f"convert to {wording.ends(plan.quantize)}",
        [
            network.frozen.identity_sha256,
            plan.quantize,
            [calibration.splits.calibration_sha256, plan.preprocess] if calibration else None,
        ],
        lambda out: jobs.QuantizeJob(
            saved_model=str(network.path),
            calibration=str(calibration.path / jobs.CALIBRATION) if calibration else "",
            preprocess=plan.preprocess,
            quantize=plan.quantize,
            layers=network.frozen.network.layers,
            out=str(out),
        ),
    )


def bench(built: Built, *, again: bool) -> Step:
    """Time an artifact on this machine."""
    plan = built.plan
    return Step(
        "bench",
        f"{plan.target}: time inferences on this machine",
        [hashing.of_file(built.path), plan.runtime.kernels, plan.bench, host.identity()],
        lambda _: BenchJob(artifact=str(built.path), kernels=plan.runtime.kernels, bench=plan.bench),
        again,
    )


def score(built: Built, data: Data, code: tuple[str, ...], *, again: bool) -> Step:
    """Score an artifact on the kernels that compute like its target's."""
    plan = built.plan
    return Step(
        "score",
        f"{plan.target}: score {data.splits.evaluation_samples:,} samples on {plan.runtime.kernels} kernels",
        [hashing.of_file(built.path), plan.runtime.kernels, _scoring(plan, data, code), host.identity()],
        lambda out: ScoreJob(
            artifact=str(built.path),
            spec=built.spec,
            kernels=plan.runtime.kernels,
            evaluation=str(data.path / jobs.EVALUATION),
            preprocess=plan.preprocess,
            metric=plan.metric,
            out=str(out),
        ),
        again,
    )


def _scoring(plan: Plan, data: Data, code: tuple[str, ...]) -> list[object]:
    """What a score depends on beside the network; a metric's function by the file it is in, that a change be seen."""
    module, colon, _ = plan.metric.name.partition(":")
    places = [Path(folder, *module.split(".")).with_suffix(".py") for folder in code] if colon else []
    functions = [hashing.of_file(place) for place in places if place.is_file()]
    return [data.splits.evaluation_sha256, plan.preprocess, plan.metric, functions]
