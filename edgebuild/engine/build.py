"""The walk of a build: the network frozen, the data divided, the baseline scored; then an artifact for each target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import hashing, host, readback
from edgebuild.core.manifest import Footprint, Inputs, Manifest
from edgebuild.core.plan import Plan, Source
from edgebuild.core.progress import Listener
from edgebuild.engine import figures, publish, steps, toolchain
from edgebuild.engine.compress import compress
from edgebuild.engine.session import Made, Session
from edgebuild.engine.steps import Built, Data, Network
from edgebuild.errors import EdgebuildError
from edgebuild.passes import jobs
from edgebuild.runtimes.jobs import Bench, Score


class Outcome(NamedTuple):
    """What came of one target: its manifest, or why there is none."""

    target: str
    manifest: Manifest | None
    error: EdgebuildError | None


class _Shared(NamedTuple):
    """What all targets of a build share; `baseline` is None where there is nothing to score on."""

    model: Source
    path: str
    network: Network
    source: Source | None
    data: Data | None
    baseline: jobs.Baseline | None


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
    shared = _prepare(plans[0], session)
    for note in shared.data.splits.notes if shared.data else ():
        listener.noted(note)
    built: list[Built | Outcome] = []
    for plan in plans:
        try:
            built.append(_convert(plan, shared, session))
        except EdgebuildError as error:
            built.append(Outcome(plan.target, None, error))
    session.leave_tensorflow()
    return [item if isinstance(item, Outcome) else _finish(item, shared, session, out, again) for item in built]


def _prepare(plan: Plan, session: Session) -> _Shared:
    model, source = plan.model, plan.data
    model_path, data_path = model.path, source.path if source else ""
    if model.kind == "example":
        example = session.transform(steps.example(plan.split.seed)).path
        model_path, data_path = str(example / jobs.EXAMPLE_MODEL), str(example / jobs.EXAMPLE_DATA)
        model, source = (_kept(model, path) for path in (model_path, data_path))
    frozen = session.transform(steps.freeze(plan, model, model_path))
    network = _network(frozen, model)
    if source is None:
        return _Shared(model, model_path, network, None, None, None)
    divided = session.transform(steps.split(plan, source, data_path, network))
    data = Data(divided.read(jobs.Splits), divided.path)
    baseline = None
    if data.splits.has_answers:
        baseline = session.transform(steps.baseline(plan, network, data)).read(jobs.Baseline)
    return _Shared(model, model_path, network, source, data, baseline)


def _network(made: Made, model: Source) -> Network:
    """With the digest of its files, where it came from files: they may hold what the identity does not see."""
    frozen = made.read(jobs.Frozen)
    return Network(frozen, made.path / jobs.SAVED_MODEL, hashing.of_data([model.sha256, frozen.identity_sha256]))


def _kept(example: Source, path: str) -> Source:
    """The example as a file of the store, which a manifest calls by its name."""
    return msgspec.structs.replace(example, sha256=hashing.of_file(Path(path)))


def _convert(plan: Plan, shared: _Shared, session: Session) -> Built:
    """Compress and convert for one target, and hold what came out against what the target can run."""
    compressed = compress(plan, shared.model, shared.path, shared.network, shared.data, session)
    made = session.transform(steps.quantize(plan, compressed.network, shared.data))
    network = compressed.network.frozen.network
    spec = readback.in_order(made.read(jobs.Converted).artifact, network)
    readback.require_fit(spec, network, plan)
    plain = None if compressed.network == shared.network else _plain(plan, shared, session)
    return Built(plan, made.path / jobs.ARTIFACT, spec, plain, compressed.notes)


def _plain(plan: Plan, shared: _Shared, session: Session) -> Footprint:
    """What quantization alone would have made, to hold the compressed artifact against."""
    dense = msgspec.structs.replace(plan.quantize, sparse=False)
    step = steps.quantize(msgspec.structs.replace(plan, passes=(dense,)), shared.network, shared.data)
    made = session.transform(step._replace(title=f"{plan.target}: convert the network as it was, to compare"))
    return figures.footprint((made.path / jobs.ARTIFACT).read_bytes(), made.read(jobs.Converted).artifact)


def _finish(built: Built, shared: _Shared, session: Session, out: Path, again: bool) -> Outcome:
    """Measure an artifact, judge it and publish it."""
    plan = built.plan
    try:
        bench, score = _measure(built, shared, session, again)
        manifest = figures.manifest(
            plan,
            data=built.path.read_bytes(),
            spec=built.spec,
            inputs=_inputs(shared),
            baseline=shared.baseline,
            score=score,
            bench=bench,
            plain=built.plain,
            versions=toolchain.versions(),
            machine=host.describe(),
            notes=_notes(built, shared),
        )
        publish.publish(manifest, built.path, out / plan.target)
    except EdgebuildError as error:
        return Outcome(plan.target, None, error)
    return Outcome(plan.target, manifest, None)


def _measure(built: Built, shared: _Shared, session: Session, again: bool) -> tuple[Bench, Score | None]:
    if shared.data is None or shared.baseline is None:
        (bench,) = session.run([steps.bench(built, again=again)])
        return bench.read(Bench), None
    bench, score = session.run([steps.bench(built, again=again), steps.score(built, shared.data, again=again)])
    return bench.read(Bench), score.read(Score)


def _inputs(shared: _Shared) -> Inputs:
    data = figures.data_record(shared.source, shared.data.splits) if shared.source and shared.data else None
    frozen = shared.network.frozen
    return Inputs(model=shared.model, network=frozen.network, network_sha256=frozen.identity_sha256, data=data)


def _notes(built: Built, shared: _Shared) -> tuple[str, ...]:
    plan = built.plan
    notes = list(shared.data.splits.notes) if shared.data else ["no data were given: nothing was scored"]
    if shared.data is not None and shared.baseline is None:
        notes.append("the data hold no answers (y_eval): nothing was scored")
    floating = [op for op in readback.in_float(built.spec) if op.name not in readback.CONVERSIONS]
    if plan.quantize.scheme.needs_calibration and floating:
        names = readback.names_of(floating, shared.network.frozen.network)
        notes.append(f"{plan.target}: the converter left operators in float: {names}")
    notes += [f"{plan.target}: {note}" for note in built.notes]
    return tuple(notes)
