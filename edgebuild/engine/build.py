"""The walk of a build: what all targets share, then an artifact for each target, measured, judged and published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import readback, targets
from edgebuild.core.manifest import Footprint, Manifest
from edgebuild.core.passes import Equalize, QuantizeAware, Scheme
from edgebuild.core.plan import Plan
from edgebuild.core.progress import Listener
from edgebuild.engine import figures, handover, judging, losses, publish, steps, vetting
from edgebuild.engine.compress import Compressed, compress, with_layers_of_nested
from edgebuild.engine.material import Built, Reference
from edgebuild.engine.repair import Tools, Tried, climb
from edgebuild.engine.session import Session
from edgebuild.engine.sharing import Shared, prepare
from edgebuild.errors import EdgebuildError, StepError
from edgebuild.ladder import Means
from edgebuild.passes import jobs
from edgebuild.process import ChildDiedError


class Outcome(NamedTuple):
    """What came of one target: its manifest, or why there is none."""

    target: str
    manifest: Manifest | None
    error: EdgebuildError | None


def build(
    plans: Sequence[Plan], out: Path, session: Session, listener: Listener, *, again: bool, vet: bool, repair: bool
) -> list[Outcome]:
    """Build every plan; all share one network and its data.

    Args:
        plans: one for each target.
        out: the folder whose TARGET/ folders are published into.
        session: where steps are done or found.
        listener: is told what happens.
        again: whether to measure anew what was measured on this machine already.
        vet: whether to hold a refined artifact against the plain conversion, where train samples have answers.
        repair: whether to try more where a build misses its accuracy budget.

    Returns:
        An outcome for each plan, in order. A step that fails for one target leaves the others alone.

    Raises:
        EdgebuildError: a step that all targets share failed.
    """
    builder = _Builder(prepare(plans, session, listener), out, session, again=again)
    tools = Tools(builder.make, listener.noted)
    built: list[Built | Outcome] = []
    for plan in plans:
        try:
            built.append(builder.vetted(plan) if vet else builder.convert(plan))
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
        manifest, files = handover.with_card(done.manifest, done.files)
        publish.publish(manifest, files, out / plan.target)
    except EdgebuildError as error:
        return Outcome(plan.target, None, error)
    return Outcome(plan.target, manifest, None)


def _with_note(built: Built, note: str) -> Built:
    return built._replace(notes=(*built.notes, note))


class _Builder:
    """From plans to builds that are judged, all of one network and its data."""

    def __init__(self, shared: Shared, out: Path, session: Session, *, again: bool) -> None:
        self._shared, self._out, self._session, self._again = shared, out, session, again

    def means(self) -> Means:
        """What a repair ladder may use."""
        learns = self._shared.data is not None and self._shared.data.learns
        return Means(learns, targets.default_pass(Equalize), targets.default_pass(QuantizeAware))

    def make(self, plan: Plan) -> Tried:
        """Convert and judge."""
        built = self.convert(plan)
        self._session.leave_tensorflow()
        return self.judge(built)

    def vetted(self, plan: Plan) -> Built:
        """Convert; plainly where that turns out better."""
        data, refined = self._shared.data, self.convert(plan)
        other = vetting.alternative(plan, data)
        if data is None or other is None:
            return refined
        try:
            plain = self.convert(other, title=f"{plan.target}: convert without refinements, to compare")
            why = vetting.vet(refined, plain, data, self._session)
        except ChildDiedError:
            raise
        except EdgebuildError as error:
            return _with_note(refined, f"not held against the plain conversion: {error.what}")
        return refined if why is None else _with_note(plain, why)

    def convert(self, plan: Plan, title: str = "") -> Built:
        """Do the passes and convert, a step of this title; hold what came out against what the target can run."""
        shared, session = self._shared, self._session
        compressed = compress(plan, shared.model, shared.path, shared.network, shared.data, session)
        step = steps.quantize(compressed.plan, compressed.network, shared.data)
        made = session.transform(step._replace(title=title or step.title))
        network = compressed.network.frozen.network
        spec = readback.in_order(made.read(jobs.Converted).artifact, network)
        readback.require_fit(spec, network, plan)
        plain = self._plain(plan) if compressed.is_smaller else None
        reference, lacking = self._reference(plan, compressed)
        notes = (*compressed.notes, *lacking)
        return Built(plan, made.path / jobs.ARTIFACT, spec, plain, notes, network, reference)

    def judge(self, built: Built) -> Tried:
        """Measure an artifact and hold it against its budgets."""
        return judging.judge(built, self._shared, self._out, self._session, again=self._again)

    def _reference(self, plan: Plan, compressed: Compressed) -> tuple[Reference | None, tuple[str, ...]]:
        """The float network whose layers the artifact has, where there are samples to compare on; why it is lacking."""
        if self._shared.data is None or compressed.unquantized is None or plan.quantize.scheme == Scheme.FLOAT32:
            return None, ()
        try:
            return losses.reference(plan, compressed.unquantized, self._session), ()
        except StepError as error:
            return None, (f"layers were not compared with the float network's: {error.what}",)

    def _plain(self, plan: Plan) -> Footprint:
        """What quantization alone would have made, to hold the compressed artifact against."""
        dense = replace(with_layers_of_nested(plan, self._shared.network).quantize, sparse=False)
        step = steps.quantize(replace(plan, passes=(dense,)), self._shared.network, self._shared.data)
        made = self._session.transform(step._replace(title=f"{plan.target}: convert the network as it was, to compare"))
        return figures.footprint((made.path / jobs.ARTIFACT).read_bytes(), made.read(jobs.Converted).artifact)
