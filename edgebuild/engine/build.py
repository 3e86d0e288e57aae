"""The walk of a build: what all targets share, then an artifact for each target, measured, judged and published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import host, readback, targets
from edgebuild.core.losses import Losses
from edgebuild.core.manifest import Footprint, Inputs, Manifest
from edgebuild.core.passes import Equalize, QuantizeAware, Scheme
from edgebuild.core.plan import Plan
from edgebuild.core.progress import Listener
from edgebuild.engine import figures, losses, publish, steps, toolchain
from edgebuild.engine.compress import Compressed, compress
from edgebuild.engine.repair import Tools, Tried, climb
from edgebuild.engine.session import Session
from edgebuild.engine.sharing import Shared, prepare
from edgebuild.engine.steps import Built, Reference
from edgebuild.errors import EdgebuildError, StepError
from edgebuild.ladder import Means
from edgebuild.passes import jobs
from edgebuild.runtimes.jobs import Bench, Score


class Outcome(NamedTuple):
    """What came of one target: its manifest, or why there is none."""

    target: str
    manifest: Manifest | None
    error: EdgebuildError | None


class _Measured(NamedTuple):
    """The figures of one artifact; `notes` say why there are not more."""

    bench: Bench
    score: Score | None
    losses: Losses | None = None
    notes: tuple[str, ...] = ()


def build(
    plans: Sequence[Plan], out: Path, session: Session, listener: Listener, *, again: bool, repair: bool
) -> list[Outcome]:
    """Build every plan; all share one network and its data.

    Args:
        plans: one for each target.
        out: the folder whose TARGET/ folders are published into.
        session: where steps are done or found.
        listener: is told what happens.
        again: whether to measure anew what was measured on this machine already.
        repair: whether to try more where a build misses its accuracy budget.

    Returns:
        An outcome for each plan, in order. A step that fails for one target leaves the others alone.

    Raises:
        EdgebuildError: a step that all targets share failed.
    """
    builder = _Builder(prepare(plans, session, listener), session, again=again)
    tools = Tools(builder.make, listener.noted)
    built: list[Built | Outcome] = []
    for plan in plans:
        try:
            built.append(builder.convert(plan))
        except EdgebuildError as error:
            built.append(Outcome(plan.target, None, error))
    session.leave_tensorflow()
    return [
        item if isinstance(item, Outcome) else _finish(item, builder, tools if repair else None, out) for item in built
    ]


def _finish(built: Built, builder: _Builder, tools: Tools | None, out: Path) -> Outcome:
    """Measure an artifact, judge it, climb the repair ladder where there are tools for it, and publish."""
    plan = built.plan
    try:
        done = builder.judge(built)
        if tools is not None:
            done = climb(done, builder.means(), tools)
        publish.publish(done.manifest, done.built.path, out / plan.target)
    except EdgebuildError as error:
        return Outcome(plan.target, None, error)
    return Outcome(plan.target, done.manifest, None)


class _Builder:
    """From plans to builds that are judged, all of one network and its data."""

    def __init__(self, shared: Shared, session: Session, *, again: bool) -> None:
        self._shared, self._session, self._again = shared, session, again

    def means(self) -> Means:
        """What a repair ladder may use."""
        learns = self._shared.data is not None and self._shared.data.learns
        return Means(learns, targets.default_pass(Equalize), targets.default_pass(QuantizeAware))

    def make(self, plan: Plan) -> Tried:
        """Convert and judge."""
        built = self.convert(plan)
        self._session.leave_tensorflow()
        return self.judge(built)

    def convert(self, plan: Plan) -> Built:
        """Do the passes and convert, and hold what came out against what the target can run."""
        shared, session = self._shared, self._session
        compressed = compress(plan, shared.model, shared.path, shared.network, shared.data, session)
        made = session.transform(steps.quantize(plan, compressed.network, shared.data))
        network = compressed.network.frozen.network
        spec = readback.in_order(made.read(jobs.Converted).artifact, network)
        readback.require_fit(spec, network, plan)
        plain = self._plain(plan) if compressed.is_smaller else None
        notes, reference = compressed.notes, None
        try:
            reference = self._reference(plan, compressed)
        except StepError as error:
            notes = (*notes, f"layers were not compared with the float network's: {error.what}")
        return Built(plan, made.path / jobs.ARTIFACT, spec, plain, notes, reference)

    def judge(self, built: Built) -> Tried:
        """Measure an artifact and hold it against its budgets."""
        plan, shared = built.plan, self._shared
        measured = self._measured(built)
        manifest = figures.manifest(
            plan,
            data=built.path.read_bytes(),
            spec=built.spec,
            inputs=_inputs(shared),
            baseline=shared.baseline,
            score=measured.score,
            bench=measured.bench,
            plain=built.plain,
            versions=toolchain.versions(),
            machine=host.describe(),
            notes=(*_notes(built, shared), *(f"{plan.target}: {note}" for note in measured.notes)),
            losses=measured.losses,
            findings=shared.findings,
        )
        return Tried(built, manifest)

    def _reference(self, plan: Plan, compressed: Compressed) -> Reference | None:
        """The float network whose layers the artifact has, where there are samples to compare on."""
        if self._shared.data is None or compressed.unquantized is None or plan.quantize.scheme == Scheme.FLOAT32:
            return None
        return losses.reference(plan, compressed.unquantized, self._session)

    def _plain(self, plan: Plan) -> Footprint:
        """What quantization alone would have made, to hold the compressed artifact against."""
        dense = replace(plan.quantize, sparse=False)
        step = steps.quantize(replace(plan, passes=(dense,)), self._shared.network, self._shared.data)
        made = self._session.transform(step._replace(title=f"{plan.target}: convert the network as it was, to compare"))
        return figures.footprint((made.path / jobs.ARTIFACT).read_bytes(), made.read(jobs.Converted).artifact)

    def _measured(self, built: Built) -> _Measured:
        shared, session = self._shared, self._session
        data, bench = shared.data, steps.bench(built, again=self._again)
        if data is None or shared.outputs is None:
            (timed,) = session.run([bench])
            lost = losses.measure(built, data, None, session) if data is not None else losses.Lost(None, ())
            return _Measured(timed.read(Bench), None, *lost)
        timed, scored = session.run([bench, steps.score(built, data, again=self._again)])
        lost = losses.measure(built, data, losses.Kept(shared.outputs, scored.path), session)
        return _Measured(timed.read(Bench), scored.read(Score), *lost)


def _inputs(shared: Shared) -> Inputs:
    data = figures.data_record(shared.source, shared.data.splits) if shared.source and shared.data else None
    frozen = shared.network.frozen
    return Inputs(model=shared.model, network=frozen.network, network_sha256=frozen.identity_sha256, data=data)


def _notes(built: Built, shared: Shared) -> tuple[str, ...]:
    plan = built.plan
    notes = list(shared.data.splits.notes) if shared.data else ["no data were given: nothing was scored"]
    if shared.source is not None and shared.baseline is None:
        notes.append("the data hold no answers (y_eval): nothing was scored")
    floating = [op for op in readback.in_float(built.spec) if op.name not in readback.CONVERSIONS]
    if plan.quantize.scheme.needs_calibration and floating:
        names = readback.names_of(floating, shared.network.frozen.network)
        notes.append(f"{plan.target}: the converter left operators in float: {names}")
    notes += [f"{plan.target}: {note}" for note in built.notes]
    return tuple(notes)
