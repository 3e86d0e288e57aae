"""The walk of a build: what all targets share, then an artifact for each target, measured, judged and published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from edgebuild import readback, targets
from edgebuild.actions import conversion
from edgebuild.core.manifest import Manifest
from edgebuild.core.passes import Equalize, QuantizeAware, Scheme
from edgebuild.core.plan import Plan
from edgebuild.core.progress import Listener
from edgebuild.errors import EdgebuildError
from edgebuild.execution.session import Session
from edgebuild.pipeline import asking, convert as converting, evaluate, fallback, package, publish
from edgebuild.pipeline.artifacts import Built, Reference
from edgebuild.pipeline.compress import Compressed, compress
from edgebuild.pipeline.evaluate import Evaluated, Stage, Tried
from edgebuild.pipeline.fallback import FAILURES
from edgebuild.pipeline.prepare import Shared, prepare, settled
from edgebuild.pipeline.pursue import Tools, pursue
from edgebuild.pipeline.usable import Base, base_of, usable, with_recurrent_layers, without_passes
from edgebuild.process import ChildBugError
from edgebuild.report import formats
from edgebuild.search.accuracy_recovery import Means
from edgebuild.search.strategy import Strategy

T = TypeVar("T")


class Outcome(NamedTuple):
    """What came of one target: its manifest, or why there is none."""

    target: str
    manifest: Manifest | None
    error: EdgebuildError | None


def build(
    plans: Sequence[Plan],
    out: Path,
    session: Session,
    listener: Listener,
    *,
    again: bool,
    vet: bool,
    strategy: Callable[[Means], Strategy] | None = None,
    reports: Sequence[str] = (),
) -> list[Outcome]:
    """Build every plan; all share one network and its data.

    Args:
        plans: one for each target.
        out: the folder whose TARGET/ folders are published into.
        session: where actions are done or found.
        listener: is told what happens.
        again: whether to measure anew what was measured on this machine already.
        vet: whether to hold a refined artifact against the plain conversion, where train samples have answers.
        strategy: makes for each target what proposes further plans, once its build is judged; None for nothing.
        reports: formats that are written beside each manifest.

    Returns:
        An outcome for each plan, in order. A step that fails for one target leaves the others alone.

    Raises:
        EdgebuildError: a step that all targets share failed.
    """
    shared = prepare(plans, session, listener)
    plans = [settled(plan, shared) for plan in plans]
    builder = _Builder(shared, out, session, again=again, reports=reports)
    tools = Tools(builder.glance, builder.complete, session.noted)
    # All of them before any training; and all are converted before any is timed, which ends what holds TensorFlow.
    looked = session.each(lambda plan: _unless_it_fails(plan, builder.look), plans)
    convert = builder.vetted if vet else builder.convert

    def made(plan: Plan) -> Evaluated | Outcome:
        return _unless_it_fails(plan, lambda plan: builder.evaluated(convert(plan)))

    evaluated = session.each(lambda item: item[1] or made(item[0]), list(zip(plans, looked, strict=True)))
    return session.each(
        lambda item: item if isinstance(item, Outcome) else _finish(item, builder, strategy, tools, out), evaluated
    )


def _unless_it_fails(plan: Plan, make: Callable[[Plan], T]) -> T | Outcome:
    try:
        return make(plan)
    except EdgebuildError as error:
        return Outcome(plan.target, None, error)


def _finish(
    evaluated: Evaluated, builder: _Builder, strategy: Callable[[Means], Strategy] | None, tools: Tools, out: Path
) -> Outcome:
    """Measure an artifact, judge it, pursue what a strategy proposes then, and publish what is left."""
    plan = evaluated.built.plan
    try:
        done = builder.judge(evaluated)
        if strategy is not None:
            done = pursue(strategy(builder.means()), done, tools)
        manifest, files = package.with_card(done.manifest, done.files)
        reports = builder.reports(manifest)
        manifest = replace(manifest, reports=tuple(reports))
        publish.publish(manifest, {**files, **reports}, out / plan.target)
    except EdgebuildError as error:
        return Outcome(plan.target, None, error)
    return Outcome(plan.target, manifest, None)


def _with_note(built: Built, note: str) -> Built:
    return built._replace(notes=(*built.notes, note))


class _Builder:
    """From plans to builds that are judged, all of one network and its data."""

    def __init__(self, shared: Shared, out: Path, session: Session, *, again: bool, reports: Sequence[str]) -> None:
        self._shared, self._out, self._session, self._again = shared, out, session, again
        self._reports = reports
        self._bases: dict[str, Base] = {}  # by target

    def means(self) -> Means:
        """What a strategy may use."""
        learns = self._shared.data is not None and self._shared.data.learns
        return Means(learns, targets.default_pass(Equalize), targets.default_pass(QuantizeAware))

    def reports(self, manifest: Manifest) -> dict[str, bytes]:
        """The files of the report formats that were asked for."""
        return formats.files(manifest, self._reports)

    def look(self, plan: Plan) -> None:
        """See whether the target takes the network, before anything is trained; raises StepError where it does not."""
        self._bases[plan.target] = base_of(plan, self._shared, self._session)

    def glance(self, plan: Plan) -> Tried:
        """Convert, and judge the accuracy alone."""
        return self.judge(self.evaluated(self.convert(plan)), Stage.ACCURACY)

    def complete(self, tried: Tried) -> Tried:
        """Judge in all ways what was converted."""
        return self.judge(tried.evaluated)

    def vetted(self, plan: Plan) -> Built:
        """Convert; plainly where that turns out better."""
        refined = self.convert(plan)
        data, other = self._shared.data, converting.alternative_of(refined.plan, self._shared.data)
        if data is None or other is None:
            return refined
        try:
            plain = self.convert(other, title="convert without refinements, to compare")
            why = converting.vet(refined, plain, data, self._session)
        except (EdgebuildError, ChildBugError) as error:
            return _with_note(refined, f"not compared with the plain conversion: {error.what}")
        return refined if why is None else _with_note(plain, why)

    def convert(self, plan: Plan, title: str = "") -> Built:
        """Do the passes and convert, under this title; passes with which the target gets nothing are left out."""
        return fallback.first_that_works(plan, lambda tried: self._converted(tried, title))

    def _converted(self, plan: Plan, title: str) -> Built:
        shared, session = self._shared, self._session
        base = self._bases.get(plan.target, Base(shared.network))
        base = with_recurrent_layers(plan, base, shared, session)
        compressed = compress(plan, shared.loaded, base.network, shared.data, session)
        made = session.run(asking.quantize(compressed.plan, compressed.network, shared.data, title))
        network = compressed.network.frozen.network
        spec = readback.in_order(made.result.artifact, network)
        built = usable(Built(plan, made.ref(conversion.ARTIFACT), spec, None, (), network), session)
        plain = self._plain(plan, base) if compressed.is_smaller else None
        reference, lacking = self._reference(plan, compressed)
        # Each once: more than one of them may carry the network over.
        said = dict.fromkeys((*base.notes, *compressed.notes, *built.notes, *lacking))
        return built._replace(plain=plain, notes=tuple(said), reference=reference)

    def evaluated(self, built: Built) -> Evaluated:
        """Pack an artifact and score it."""
        return evaluate.evaluate(built, self._shared, self._session, again=self._again)

    def judge(self, evaluated: Evaluated, stage: Stage = Stage.EVERYTHING) -> Tried:
        """Measure an artifact as far as a stage, and hold it against its budgets."""
        return evaluate.judge(evaluated, self._shared, self._out, self._session, again=self._again, stage=stage)

    def _reference(self, plan: Plan, compressed: Compressed) -> tuple[Reference | None, tuple[str, ...]]:
        """The float network whose layers the artifact has, where there are samples to compare on; why it is lacking."""
        if self._shared.data is None or compressed.unquantized is None or plan.quantize.scheme == Scheme.FLOAT32:
            return None, ()
        try:
            return evaluate.reference(plan, compressed.unquantized, self._session), ()
        except FAILURES as error:
            return None, (f"layers were not compared with the float network's: {fallback.reason(error)}",)

    def _plain(self, plan: Plan, base: Base) -> Built | None:
        """What quantization alone makes, to compare the compressed artifact with; None for nothing."""
        dense = without_passes(plan, base.network)
        action = asking.quantize(dense, base.network, self._shared.data, "convert the network as it was, to compare")
        try:
            made = self._session.run(action)
        except FAILURES:
            return None  # a student took its place, perhaps for that
        network = base.network.frozen.network
        spec = readback.in_order(made.result.artifact, network)
        return Built(dense, made.ref(conversion.ARTIFACT), spec, None, (), network)
