"""Evaluate: an artifact measured in all ways that its target has, what it lost, and its budgets judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from edgebuild import host, readback
from edgebuild.actions import conversion
from edgebuild.actions.scores import Score
from edgebuild.core.action import Action, R, Ref
from edgebuild.core.budget import SCORES
from edgebuild.core.device import DeviceReport
from edgebuild.core.finding import Finding
from edgebuild.core.losses import Losses
from edgebuild.core.manifest import Inputs, Manifest, Shrinkage
from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.plan import Plan
from edgebuild.execution import toolchain
from edgebuild.execution.session import Done, Session
from edgebuild.pipeline import (
    asking,
    baselines,
    calibrations,
    convert,
    device_figures,
    devices,
    fallback,
    figures,
    package,
    places,
    prepare,
)
from edgebuild.pipeline.artifacts import Built, Data, Network, Part, Reference
from edgebuild.pipeline.baselines import Baseline, Wanted
from edgebuild.pipeline.convert import Finished
from edgebuild.pipeline.demands import Demand, Runnable
from edgebuild.pipeline.devices import Answered
from edgebuild.pipeline.fallback import UNMEASURED
from edgebuild.pipeline.figures import DeviceFigures, Found, Origin, Scored
from edgebuild.pipeline.package import Handed
from edgebuild.pipeline.places import Placed
from edgebuild.pipeline.prepare import Shared, without_labels

_LAYERS_ON = 32  # samples
_FLOAT = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
# How a runtime is made to forget.
_RESETS = (
    "reset_all_variables() in Python, ResetVariableTensors() in C++, MicroInterpreter::Reset() on microcontrollers"
)


class Scoring(NamedTuple):
    """The score that an interpreter gave, and what was lost; `notes` say why there is not more."""

    score: Scored | None
    losses: Losses | None = None
    notes: tuple[str, ...] = ()


class Stage(IntEnum):
    """How far an artifact is evaluated: each stage has all of those before it."""

    ACCURACY = 0  # the file that ships, its score, and what was lost within it
    EVERYTHING = 1  # what its target's devices and compilers say, its costs, and what is handed over


class Evaluated(NamedTuple):
    """An artifact as the converter left it, as it ships, and its score."""

    built: Built
    finished: Finished
    scored: Scoring


class Tried(NamedTuple):
    """A build that was evaluated and judged.

    Attributes:
        evaluated: the artifact.
        manifest: all that is known of it.
        files: what is left for its developer, the artifact among it, by path beside the manifest.
    """

    evaluated: Evaluated
    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def built(self) -> Built:
        """The artifact as the converter left it."""
        return self.evaluated.built


def evaluate(built: Built, shared: Shared, session: Session, *, again: bool) -> Evaluated:
    """Pack and score an artifact.

    Raises:
        EdgebuildError: it does not run.
    """
    devices.require_kernels(built, session)
    finished = convert.finish(built, shared, session)
    return Evaluated(built, finished, _scored(finished.built, built, shared, session, again=again))


def judge(
    evaluated: Evaluated, shared: Shared, out: Path, session: Session, *, again: bool, stage: Stage = Stage.EVERYTHING
) -> Tried:
    """Measure an artifact and judge it.

    Args:
        evaluated: the artifact and its score.
        shared: the network and the data.
        out: the folder that is built into.
        session: where actions are done or found.
        again: whether to measure anew what was measured on this machine already.
        stage: how far; what is not evaluated has no figures in the manifest, and its budgets are inconclusive.

    Raises:
        EdgebuildError: the artifact does not run.
    """
    built, finished, scored = evaluated
    plan, is_whole, shipped = built.plan, stage == Stage.EVERYTHING, finished.built
    baseline = _baseline(plan, out, session) if is_whole else None
    placed = _placed(shipped, baseline, shared, session, again=again) if is_whole else Placed()
    answered = devices.ask(shipped, built, shared.data, session) if is_whole else Answered(DeviceReport())
    handed = package.gather(shipped, answered, shared, session) if is_whole else Handed({}, None)
    estimated = calibrations.estimates(session.path(shipped.ref), placed.measurements)
    versions = toolchain.versions()
    told = (*finished.notes, *placed.notes, *estimated.notes, *scored.notes, *answered.notes)
    report = replace(answered.report, places=placed.parities)
    own = device_figures.of_device(report, handed.flash_bytes, versions, plan.runtime)
    manifest = figures.manifest(
        plan,
        session.path(shipped.ref).read_bytes(),
        shipped.spec,
        Origin(
            _inputs(shared),
            shared.baseline,
            _shrinkage(built, finished, session) if is_whole else None,
            _findings(plan, shared),
            versions,
        ),
        Found(
            scored.score,
            (*placed.measurements, *estimated.measurements),
            DeviceFigures(report, own, answered.lacking),
            baseline=places.with_reason(baseline.before, placed) if baseline is not None else None,
            turns=placed.turns,
            leaner=finished.leaner,
            losses=scored.losses,
            lacking={**placed.lacking, **_unscored(shared)},
        ),
        (
            *_notes(built, shared),
            *(f"{plan.target}: {note}" for note in told),
        ),
    )
    return Tried(evaluated, manifest, handed.files)


def _findings(plan: Plan, shared: Shared) -> tuple[Finding, ...]:
    """The faults of the data, and where they are too few for a budget of this target."""
    samples = shared.baseline.samples if shared.baseline is not None else 0
    return (*shared.findings, *prepare.findings_of_resolution(plan, samples))


def _baseline(plan: Plan, out: Path, session: Session) -> Baseline | None:
    if not plan.bench.baseline:
        return None
    wanted = Wanted(plan.name, plan.target, str(plan.runtime.kernels))
    return baselines.find(plan.bench.baseline, wanted, out, session.scratch())


def _placed(shipped: Built, baseline: Baseline | None, shared: Shared, session: Session, *, again: bool) -> Placed:
    """Measure what ships at all places, and score it at those that are not this machine."""
    plan = shipped.plan
    at = places.wanted(plan.bench, plan.budgets, is_of_host=not plan.has_costs_of_its_own)
    item = Runnable(session.path(shipped.ref), plan.runtime.kernels)
    demand = Demand(plan.bench, plan.budgets, baseline.artifact if baseline is not None else None)
    stands_in = plan.has_costs_of_its_own
    measured = places.measure(item, at, demand, session, again=again, of=plan.target, is_stand_in=stands_in)
    if shared.data is None or shared.baseline is None:
        return measured
    return places.together(measured, places.score(shipped, at, shared.data, shared.baseline, session, again=again))


def _scored(shipped: Built, named: Built, shared: Shared, session: Session, *, again: bool) -> Scoring:
    """Score what ships; layers are compared on the same network with the names of its tensors."""
    data = shared.data
    if data is None or shared.outputs is None:
        lost = measure_losses(named, data, None, session) if data is not None else _Lost(None, ())
        return Scoring(None, lost.losses, (*lost.notes, *notes_of_states(shipped)))
    scored = _run(shipped, data, session, again=again)
    kernels = figures.TFLM_KERNELS if devices.runs_on_tflm(shipped) else str(shipped.plan.runtime.kernels)
    lost = measure_losses(named, data, Kept(shared.outputs, scored.ref()), session)
    found = scored.result
    notes = [*lost.notes, *notes_of_states(shipped)]
    if shipped.spec.keeps_state:
        try:
            reset = _run(shipped, data, session, again=again, resets=True).result
            notes += compared_with_states(shipped, found.score, reset.score)
        except UNMEASURED as error:
            notes.append(f"it was not scored with its state reset: {fallback.reason(error)}")
    score = Scored(found.score, found.samples, kernels, host.describe(), further=found.further)
    return Scoring(score, lost.losses, tuple(notes))


def _run(shipped: Built, data: Data, session: Session, *, again: bool, resets: bool = False) -> Done[Score]:
    """Score what ships as it runs in use, or with its state reset before each sample."""
    on_tflm = devices.runs_on_tflm(shipped)
    return session.run(asking.score(shipped, data.evaluation, on_tflm=on_tflm, resets=resets), again=again)


def _unscored(shared: Shared) -> dict[str, str]:
    """Why there is no score, for the budgets that ask for one."""
    if shared.baseline is not None:
        return {}
    if shared.source is None:
        return {str(subject): "no data were given (--data, or [data] path)" for subject in SCORES}
    return {str(subject): without_labels(shared, "nothing was scored") for subject in SCORES}


def _shrinkage(built: Built, finished: Finished, session: Session) -> Shrinkage | None:
    """What the passes did, by the files that ship with and without them, but for their metadata."""
    if built.plain is None:
        return None
    plain = convert.pack(built.plain, session, "the file as it was, to compare").packed
    before, after = (
        figures.footprint(session.path(item.ref).read_bytes(), item.spec) for item in (plain, finished.packed)
    )
    return Shrinkage(before=before, after=after)


def _inputs(shared: Shared) -> Inputs:
    data = figures.data_record(shared.source, shared.data.splits) if shared.source and shared.data else None
    frozen = shared.network.frozen
    return Inputs(model=shared.loaded.model, network=frozen.network, network_sha256=frozen.identity_sha256, data=data)


def _notes(built: Built, shared: Shared) -> tuple[str, ...]:
    plan = built.plan
    notes = list(shared.network.frozen.notes)
    notes += shared.data.splits.notes if shared.data else ["no data were given: nothing was scored"]
    if shared.source is not None and shared.baseline is None:
        notes.append(without_labels(shared, "nothing was scored"))
    asked = readback.ANSWERS if plan.quantize.float_answers else frozenset()
    floating = [op for op in readback.in_float(built.spec) if op.name not in readback.CONVERSIONS | asked]
    if plan.quantize.scheme.needs_calibration and floating:
        names = readback.names_of(floating, built.network)
        notes.append(f"{plan.target}: the converter left operators in float: {names}")
    notes += [f"{plan.target}: {note}" for note in built.notes]
    return tuple(notes)


class Kept(NamedTuple):
    """The folders in which both scorings left their outputs."""

    baseline: Ref
    artifact: Ref


class _Lost(NamedTuple):
    """What was lost, and why something could not be compared."""

    losses: Losses | None
    notes: tuple[str, ...]


def reference(plan: Plan, network: Network, session: Session) -> Reference:
    """A network as a float32 .tflite file, to hold an artifact's layers against.

    Args:
        plan: of the artifact.
        network: the float network whose layers the artifact has: after all that changes its structure or the scale of
            its channels, before all that puts nodes into it that quantize.
        session: where actions are done or found.

    Raises:
        StepError: the converter refused it.
    """
    floating = msgspec.structs.replace(plan, passes=(_FLOAT,))
    title = "convert to float32, to compare layers"
    made = session.run(asking.quantize(floating, network, None, title, ships=False))
    spec = readback.in_order(made.result.artifact, network.frozen.network)
    return Reference(made.ref(conversion.ARTIFACT), spec, network.frozen.network.layers)


def measure_losses(built: Built, data: Data, kept: Kept | None, session: Session) -> _Lost:
    """Compare outputs and layers, as far as there is what that needs.

    Args:
        built: the artifact.
        data: divided data.
        kept: the outputs of both networks; None where nothing was scored.
        session: where actions are done or found.

    Returns:
        What was lost; what cannot be compared is noted, since the artifact is none the worse for it.
    """
    notes: list[str] = []
    output = layers = None
    if kept is not None:
        title = "hold its answers against the float network's"
        action = asking.output_loss(built.plan, kept.baseline, kept.artifact, data.evaluation, title)
        output = _compared("outputs", action, notes, session)
    part = _looked_at(data)
    if built.reference is not None and part is not None:
        layers = _compared("layers", asking.layer_loss(built, built.reference, part), notes, session)
    losses = Losses(output=output, layers=layers) if output is not None or layers is not None else None
    return _Lost(losses, tuple(notes))


def _looked_at(data: Data) -> Part | None:
    """The samples for layers: what is repaired by them must not have seen what it is scored on."""
    if data.calibrates:
        return data.calibration.limited(_LAYERS_ON)
    return data.evaluation.limited(_LAYERS_ON) if data.splits.evaluation_samples else None


def _compared(what: str, action: Action[R], notes: list[str], session: Session) -> R | None:
    try:
        return session.run(action).result
    except UNMEASURED as error:
        # A file may run as it is and yet not with all its tensors kept: the artifact is none the worse.
        notes.append(f"{what} were not compared with the float network's: {fallback.reason(error)}")
    return None


def notes_of_states(built: Built) -> Iterator[str]:
    """That there is state, and what users must do about it."""
    if not built.spec.keeps_state:
        return
    if built.network.streams:
        yield (
            f"streaming model: {', '.join(built.network.streams)} carry state over from each inference to the next, as "
            "in the network; samples are run in their order, nothing reset. A new stream starts with a new interpreter"
        )
        return
    yield f"the artifact keeps state: reset it before each independent input ({_RESETS})"


def compared_with_states(built: Built, in_use: float, reset: float) -> Iterator[str]:
    """Both scores, where they differ; the report's own is always the one in use."""
    if in_use == reset:
        return
    label = built.plan.metric.label
    first, second = (f"{score:.2%}" if built.plan.metric.is_share else f"{score:.6g}" for score in (in_use, reset))
    yield f"{label} is {first} as the interpreter runs by itself, {second} with the state reset before each sample"
