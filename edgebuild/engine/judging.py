"""An artifact measured in all ways that its target has, and held against its budgets."""

from __future__ import annotations

from typing import NamedTuple

from edgebuild import host, readback
from edgebuild.core.losses import Losses
from edgebuild.core.manifest import Inputs, Shrinkage
from edgebuild.engine import (
    device_figures,
    device_steps,
    devices,
    figures,
    finishing,
    handover,
    losses,
    steps,
    toolchain,
)
from edgebuild.engine.figures import DeviceFigures, Scored
from edgebuild.engine.repair import Tried
from edgebuild.engine.session import Session
from edgebuild.engine.sharing import Shared
from edgebuild.engine.steps import Built
from edgebuild.runtimes.jobs import Bench, Score
from edgebuild.runtimes.tflm import wheel


class _Measured(NamedTuple):
    """The figures that an interpreter gave; `notes` say why there are not more."""

    bench: Bench
    score: Scored | None
    losses: Losses | None = None
    notes: tuple[str, ...] = ()


def judge(built: Built, shared: Shared, session: Session, *, again: bool) -> Tried:
    """Pack, measure and judge an artifact.

    Args:
        built: as the converter left it.
        shared: the network and the data.
        session: where steps are done or found.
        again: whether to measure anew what was measured on this machine already.

    Raises:
        EdgebuildError: the artifact does not run.
    """
    plan = built.plan
    devices.require_kernels(built, session)
    finished = finishing.finish(built, shared, session)
    shipped = finished.built
    measured = _measured(shipped, built, shared, session, again=again)
    answered = devices.ask(shipped, built, shared.data, session)
    handed = handover.gather(shipped, answered, shared, session)
    versions = toolchain.versions()
    manifest = figures.manifest(
        plan,
        data=shipped.path.read_bytes(),
        spec=shipped.spec,
        inputs=_inputs(shared),
        baseline=shared.baseline,
        score=measured.score,
        bench=measured.bench,
        shrinkage=_shrinkage(built),
        versions=versions,
        machine=host.describe(),
        device=DeviceFigures(
            answered.report, device_figures.of_device(answered.report, handed.flash_bytes, versions), answered.lacking
        ),
        leaner=finished.leaner,
        notes=(
            *_notes(built, shared),
            *(f"{plan.target}: {note}" for note in (*finished.notes, *measured.notes, *answered.notes)),
        ),
        losses=measured.losses,
        findings=shared.findings,
    )
    return Tried(shipped, manifest, handed.files)


def _measured(shipped: Built, named: Built, shared: Shared, session: Session, *, again: bool) -> _Measured:
    """Time and score what ships; layers are compared on the same network with the names of its tensors."""
    data, bench = shared.data, steps.bench(shipped, again=again)
    if data is None or shared.outputs is None:
        (timed,) = session.run([bench])
        lost = losses.measure(named, data, None, session) if data is not None else losses.Lost(None, ())
        return _Measured(timed.read(Bench), None, *lost)
    if devices.runs_on_tflm(shipped):
        score = steps.score(shipped, data, again=again, tflm=wheel.version() or "")
        timed, scored = *session.run([bench]), *session.run([score], device_steps.TFLM)
        kernels = figures.TFLM_KERNELS
    else:
        timed, scored = session.run([bench, steps.score(shipped, data, again=again)])
        kernels = str(shipped.plan.runtime.kernels)
    lost = losses.measure(named, data, losses.Kept(shared.outputs, scored.path), session)
    found = scored.read(Score)
    return _Measured(timed.read(Bench), Scored(found.score, found.samples, kernels), *lost)


def _shrinkage(built: Built) -> Shrinkage | None:
    """What the passes did, both files as the converter left them."""
    if built.plain is None:
        return None
    return Shrinkage(before=built.plain, after=figures.footprint(built.path.read_bytes(), built.spec))


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
