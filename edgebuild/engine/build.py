"""The walk of a build: example or inputs, frozen network, splits, baseline; then an artifact for each target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import hashing, host, readback
from edgebuild.core.manifest import Inputs, Manifest
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.passes import Quantize
from edgebuild.core.plan import Plan, Source
from edgebuild.core.progress import Listener
from edgebuild.engine import figures, publish, toolchain
from edgebuild.engine.session import Made, Session, Step
from edgebuild.errors import EdgebuildError
from edgebuild.passes import jobs
from edgebuild.report import wording
from edgebuild.runtimes.jobs import Bench, BenchJob, Score, ScoreJob


class Outcome(NamedTuple):
    """What came of one target: its manifest, or why there is none."""

    target: str
    manifest: Manifest | None
    error: EdgebuildError | None


class _Prepared(NamedTuple):
    """What all targets share."""

    model: Source
    frozen: jobs.Frozen
    saved_model: Path
    data: Source | None
    splits: jobs.Splits | None
    splits_path: Path
    baseline: jobs.Baseline | None


class _Built(NamedTuple):
    """An artifact that was read back and fits its plan."""

    plan: Plan
    path: Path
    spec: ArtifactSpec


def build(plans: Sequence[Plan], out: Path, session: Session, listener: Listener, *, again: bool) -> list[Outcome]:
    """Build every plan; all share one network and its data.

    Args:
        plans: one for each target.
        out: the folder whose TARGET/ folders are published into.
        session: where steps are done or found.
        listener: is told what happens.
        again: whether to measure anew what was measured on this machine already.

    Returns:
        An outcome for each plan, in order. A step that fails for one target leaves the others alone.

    Raises:
        EdgebuildError: a step that all targets share failed.
    """
    prepared = _prepare(plans[0], session)
    for note in prepared.splits.notes if prepared.splits else ():
        listener.noted(note)
    built: list[_Built | Outcome] = []
    for plan in plans:
        try:
            built.append(_convert(plan, prepared, session))
        except EdgebuildError as error:
            built.append(Outcome(plan.target, None, error))
    session.leave_tensorflow()
    return [item if isinstance(item, Outcome) else _finish(item, prepared, session, out, again) for item in built]


def _prepare(plan: Plan, session: Session) -> _Prepared:
    model, data = plan.model, plan.data
    if model.kind == "example":
        model, data = _example(plan, session)
    made = session.transform(
        Step(
            "freeze",
            f"load {plan.name} and fix its shapes",
            None if model.kind == "callable" else [model.sha256, model.kind, plan.input_shape, plan.allow_code],
            lambda out: jobs.FreezeJob(
                kind=model.kind,
                path=model.path,
                input_shape=plan.input_shape,
                allow_code=plan.allow_code,
                out=str(out),
            ),
        )
    )
    frozen, saved_model = made.read(jobs.Frozen), made.path / jobs.SAVED_MODEL
    if data is None:
        return _Prepared(model, frozen, saved_model, None, None, Path(), None)
    divided = _divide(plan, data, frozen, session)
    splits = divided.read(jobs.Splits)
    baseline = _baseline(plan, frozen, saved_model, divided, session) if splits.has_answers else None
    return _Prepared(model, frozen, saved_model, data, splits, divided.path, baseline)


def _example(plan: Plan, session: Session) -> tuple[Source, Source]:
    made = session.transform(
        Step(
            "example",
            "train the example",
            plan.split.seed,
            lambda out: jobs.ExampleJob(out=str(out), seed=plan.split.seed),
        )
    )
    model, data = made.path / jobs.EXAMPLE_MODEL, made.path / jobs.EXAMPLE_DATA
    return (
        Source(kind="file", path=str(model), sha256=hashing.of_file(model)),
        Source(kind="file", path=str(data), sha256=hashing.of_file(data)),
    )


def _divide(plan: Plan, data: Source, frozen: jobs.Frozen, session: Session) -> Made:
    inputs = frozen.network.inputs
    return session.transform(
        Step(
            "split",
            "read the data and divide them",
            None if data.kind == "callable" else [data.sha256, data.kind, inputs, plan.split],
            lambda out: jobs.SplitJob(kind=data.kind, path=data.path, inputs=inputs, split=plan.split, out=str(out)),
        )
    )


def _baseline(plan: Plan, frozen: jobs.Frozen, saved_model: Path, divided: Made, session: Session) -> jobs.Baseline:
    splits = divided.read(jobs.Splits)
    return session.transform(
        Step(
            "baseline",
            f"score the float network on {splits.evaluation_samples:,} samples",
            [frozen.identity_sha256, splits.evaluation_sha256, plan.preprocess, plan.metric, _metric_code(plan)],
            lambda out: jobs.BaselineJob(
                saved_model=str(saved_model),
                batched=frozen.batched,
                evaluation=str(divided.path / jobs.EVALUATION),
                preprocess=plan.preprocess,
                metric=plan.metric,
                out=str(out),
            ),
        )
    ).read(jobs.Baseline)


def _convert(plan: Plan, prepared: _Prepared, session: Session) -> _Built:
    """Convert for one target and hold what came out against what the target can run."""
    quantize = next(step for step in plan.passes if isinstance(step, Quantize))
    splits = prepared.splits
    calibrates = quantize.scheme.needs_calibration and splits is not None and bool(splits.calibration_samples)
    calibration = prepared.splits_path / jobs.CALIBRATION if calibrates else None
    made = session.transform(
        Step(
            "quantize",
            f"convert to {wording.ends(quantize)}",
            [
                prepared.frozen.identity_sha256,
                quantize,
                [splits.calibration_sha256, plan.preprocess] if splits and calibration else None,
            ],
            lambda out: jobs.QuantizeJob(
                saved_model=str(prepared.saved_model),
                calibration=str(calibration or ""),
                preprocess=plan.preprocess,
                quantize=quantize,
                layers=prepared.frozen.network.layers,
                out=str(out),
            ),
        )
    )
    spec = readback.in_order(made.read(jobs.Converted).artifact, prepared.frozen.network)
    readback.require_fit(spec, prepared.frozen.network, plan)
    return _Built(plan, made.path / jobs.ARTIFACT, spec)


def _finish(built: _Built, prepared: _Prepared, session: Session, out: Path, again: bool) -> Outcome:
    plan = built.plan
    try:
        bench, score = _measure(built, prepared, session, again)
        manifest = figures.manifest(
            plan,
            data=built.path.read_bytes(),
            spec=built.spec,
            inputs=_inputs(prepared),
            baseline=prepared.baseline,
            score=score,
            bench=bench,
            versions=toolchain.versions(),
            machine=host.describe(),
            notes=_notes(plan, prepared),
        )
        publish.publish(manifest, built.path, out / plan.target)
    except EdgebuildError as error:
        return Outcome(plan.target, None, error)
    return Outcome(plan.target, manifest, None)


def _measure(built: _Built, prepared: _Prepared, session: Session, again: bool) -> tuple[Bench, Score | None]:
    plan, splits = built.plan, prepared.splits
    artifact = hashing.of_file(built.path)
    steps = [
        Step(
            "bench",
            f"{plan.target}: time inferences on this machine",
            [artifact, plan.kernels, plan.bench, host.identity()],
            lambda out: BenchJob(artifact=str(built.path), kernels=plan.kernels, bench=plan.bench),
            again,
        )
    ]
    if splits is not None and prepared.baseline is not None:
        steps.append(
            Step(
                "score",
                f"{plan.target}: score {splits.evaluation_samples:,} samples on {plan.kernels} kernels",
                [
                    artifact,
                    plan.kernels,
                    splits.evaluation_sha256,
                    plan.preprocess,
                    plan.metric,
                    _metric_code(plan),
                    host.identity(),
                ],
                lambda out: ScoreJob(
                    artifact=str(built.path),
                    spec=built.spec,
                    kernels=plan.kernels,
                    evaluation=str(prepared.splits_path / jobs.EVALUATION),
                    preprocess=plan.preprocess,
                    metric=plan.metric,
                    out=str(out),
                ),
                again,
            )
        )
    made = session.run(steps)
    return made[0].read(Bench), made[1].read(Score) if len(made) > 1 else None


def _metric_code(plan: Plan) -> str:
    """The digest of the file that a metric's function is in, so that a changed function scores anew."""
    module, colon, _ = plan.metric.name.partition(":")
    file = Path(*module.split(".")).with_suffix(".py")
    return hashing.of_file(file) if colon and file.is_file() else ""


def _inputs(prepared: _Prepared) -> Inputs:
    splits = prepared.splits
    return Inputs(
        model=prepared.model,
        network=prepared.frozen.network,
        data=None if prepared.data is None or splits is None else figures.data_record(prepared.data, splits),
    )


def _notes(plan: Plan, prepared: _Prepared) -> tuple[str, ...]:
    notes = list(prepared.splits.notes) if prepared.splits else ["no data were given: nothing was scored"]
    if prepared.splits is not None and prepared.baseline is None:
        notes.append("the data hold no answers (y_eval): nothing was scored")
    for step in plan.deferred:
        kind = msgspec.to_builtins(step)["kind"]
        notes.append(f"{plan.target} names the pass {kind}, which this version of edgebuild does not apply yet")
    return tuple(notes)
