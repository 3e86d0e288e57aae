"""An artifact at the places that it is to be measured at, and the figures of what was measured there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from edgebuild import plugins, stats
from edgebuild.actions.measuring import OPERATOR_TIMES, OperatorTimesJob, Timing
from edgebuild.actions.scores import Baseline, Score
from edgebuild.core.action import Ref
from edgebuild.core.benched import OperatorTimes
from edgebuild.core.budget import SCORES, Budget, Subject, Unit
from edgebuild.core.device import Parity
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.settings import AUTO, BenchSettings
from edgebuild.errors import UnavailableError, UsageError
from edgebuild.execution import toolchain
from edgebuild.execution.session import Session
from edgebuild.gating.comparing import Before, Turns
from edgebuild.pipeline import demands, devices, fallback, figures
from edgebuild.pipeline.artifacts import Built, Data
from edgebuild.pipeline.demands import Demand, Runnable
from edgebuild.pipeline.fallback import FAILURES, UNMEASURED
from edgebuild.process import ChildDiedError

_TIMES = (Subject.LATENCY, Subject.FIRST_INFERENCE, Subject.LOAD, Subject.PEAK_MEMORY, Subject.ENERGY)
_RESOLUTION_DIGITS = {Unit.SECONDS: 9, Unit.COUNT: 0}


class Placed(NamedTuple):
    """What was measured where.

    Attributes:
        measurements: the figures.
        turns: what was measured of the baseline in turn with it, by place.
        not_in_turn: why the baseline could not be measured; empty where it could.
        lacking: why figures could not be had, as "SUBJECT on PLACE".
        parities: the target's kernels here against other places.
        notes: what there is to say.
    """

    measurements: tuple[Measurement, ...] = ()
    turns: tuple[Turns, ...] = ()
    not_in_turn: str = ""
    lacking: Mapping[str, str] = MappingProxyType({})
    parities: tuple[Parity, ...] = ()
    notes: tuple[str, ...] = ()


def wanted(bench: BenchSettings, budgets: Iterable[Budget], *, is_of_host: bool = True) -> list[Place]:
    """The places that settings and budgets name, each once, in that order.

    Args:
        bench: where to measure.
        budgets: which may name further places.
        is_of_host: whether AUTO is this host; else it is no place at all.

    Raises:
        UsageError: one of them is no place.
    """
    own = [PlaceKind.HOST] if is_of_host else []
    on = [name for asked in bench.on for name in (own if asked == AUTO else [asked])]
    named = [*on, *(budget.on for budget in budgets if budget.on is not None)]
    try:
        return list(dict.fromkeys(plugins.place(text) for text in named))
    except ValueError as error:
        raise UsageError("[bench] on or a budget names a place that is none", str(error)) from None


def measure(
    item: Runnable,
    at: Sequence[Place],
    demand: Demand,
    session: Session,
    *,
    again: bool = False,
    of: str = "",
    is_stand_in: bool = False,
) -> Placed:
    """Measure an artifact at each place; one that is not there leaves the others alone.

    Args:
        item: the artifact.
        at: the places.
        demand: what is to be found out, and how.
        session: where actions are done or found.
        again: whether to measure anew what was measured before.
        of: what goes before titles: the target.
        is_stand_in: whether this host runs it in place of a runtime that has costs of its own: what it does not run is
            no fault of the artifact.

    Raises:
        StepError: the artifact was refused somewhere, or its process ended or broke its limits.
    """
    measurements: list[Measurement] = []
    turns: list[Turns] = []
    lacking: dict[str, str] = {}
    notes: list[str] = []
    not_in_turn = ""
    for where in at:
        action = demands.measure(item, where, demand, session, of=of)
        made, why = None, ""
        try:
            made = session.run(action, again=again)
        except UnavailableError as error:
            why = ". ".join(filter(None, [error.what, error.why.rstrip("."), error.remedy])).replace("\n", " ")
        except FAILURES as error:
            if not is_stand_in or where.kind != PlaceKind.HOST:
                raise
            why = fallback.reason(error)
        if made is None:
            subjects = (Subject.INSTRUCTIONS,) if where.emulates else _TIMES
            lacking |= {f"{subject} on {where.label}": why for subject in subjects}
            notes.append(f"nothing was measured on {where.label}: {why}")
            continue
        found = made.result
        not_in_turn = not_in_turn or found.lacking
        measurements += of_timing(where, demand.bench, found.artifact)
        if found.baseline is not None:
            before = tuple(of_timing(where, demand.bench, found.baseline))
            turns.append(Turns(where.label, before, found.ratios))
        notes += [f"{where.label}: {condition}" for condition in found.artifact.conditions]
    return Placed(tuple(measurements), tuple(turns), not_in_turn, lacking, notes=tuple(notes))


def with_reason(before: Before, placed: Placed) -> Before:
    """A baseline with the reason why it was not measured in turn, where it was not."""
    return before._replace(lacking=before.lacking or placed.not_in_turn)


def score(
    built: Built, at: Sequence[Place], data: Data, baseline: Baseline, session: Session, *, again: bool
) -> Placed:
    """Score an artifact at the places that are not this machine, and hold what it gives there against here.

    Args:
        built: the artifact.
        at: the places.
        data: with answers to the evaluation samples.
        baseline: the float network's score.
        session: where actions are done or found.
        again: whether to run anew what was run before.

    Raises:
        StepError: the artifact was refused somewhere, or its process ended or broke its limits.
    """
    measurements: list[Measurement] = []
    parities: list[Parity] = []
    lacking: dict[str, str] = {}
    notes: list[str] = []
    for where in at:
        if where.kind in (PlaceKind.HOST, PlaceKind.TFLM):
            continue
        try:
            scored = session.run(demands.score(built, data, where), again=again)
            ran = session.run(demands.outputs_at(built, data, where), again=again)
        except UnavailableError as error:
            lacking |= {f"{subject} on {where.label}": error.what for subject in SCORES}
            notes.append(f"nothing was scored on {where.label}: {error.what}")
            continue
        measurements += _of_score(built, baseline, scored.result, where)
        try:
            parities.append(_parity(built, data, where, ran.ref(), session))
        except UNMEASURED as error:
            notes.append(f"outputs here and on {where.label} were not compared: {devices.lack(error, built)}")
    return Placed(tuple(measurements), lacking=lacking, parities=tuple(parities), notes=tuple(notes))


def _parity(built: Built, data: Data, where: Place, there: Ref, session: Session) -> Parity:
    """The target's kernels on this machine against a place, where the samples were run already."""
    kernels = built.plan.runtime.kernels
    here = session.run(demands.outputs(built, data, kernels)).ref()
    names = (str(kernels), where.label)
    title = f"hold {names[0]} kernels here against {names[1]}"
    return session.run(demands.parity(built, names, (here, there), title)).result


def _of_score(built: Built, baseline: Baseline, found: Score, where: Place) -> tuple[Measurement, ...]:
    mode = Mode.EMULATED if where.emulates else Mode.MEASURED
    kernels = str(where.kernels or built.plan.runtime.kernels)
    scored = figures.Scored(found.score, found.samples, kernels, machine="", where=where.label, mode=mode)
    return figures.of_score(built.plan, baseline, scored, toolchain.versions())


def together(first: Placed, second: Placed) -> Placed:
    """Both as one."""
    return Placed(
        (*first.measurements, *second.measurements),
        (*first.turns, *second.turns),
        first.not_in_turn or second.not_in_turn,
        {**first.lacking, **second.lacking},
        (*first.parities, *second.parities),
        tuple(dict.fromkeys((*first.notes, *second.notes))),
    )


def of_timing(place: Place, bench: BenchSettings, timing: Timing) -> Iterator[Measurement]:
    """The figures of an artifact at a place: the cost of an inference, and what there is beside it."""
    samples = [sample for block in timing.blocks for sample in block]
    main = _figure(place, timing, timing.subject, timing.statistics["median"], samples)
    settings = {"processes": len(timing.processes)}
    if not place.emulates:
        settings["threads"] = bench.threads
    yield replace(
        main,
        blocks=tuple(len(block) for block in timing.blocks),
        statistics=timing.statistics,
        intervals=timing.intervals,
        conditions=timing.conditions,
        settings=settings,
    )
    if place.emulates:
        return
    for subject, found in ((Subject.FIRST_INFERENCE, timing.first), (Subject.LOAD, timing.load)):
        if found:
            yield _figure(place, timing, subject, stats.median(found), found)
    if timing.peak_memory_bytes:
        peaks = timing.peak_memory_bytes
        yield _figure(place, timing, Subject.PEAK_MEMORY, max(peaks), peaks)
    if timing.energy_j is not None:
        yield _figure(place, timing, Subject.ENERGY, timing.energy_j, ())


def _figure(place: Place, timing: Timing, subject: Subject, value: float, samples: Sequence[float]) -> Measurement:
    digits = _RESOLUTION_DIGITS.get(subject.unit)
    return Measurement(
        subject=subject,
        value=value,
        unit=subject.unit,
        mode=Mode.EMULATED if place.emulates else Mode.MEASURED,
        where=place.label,
        machine=timing.machine,
        kernels=timing.kernels,
        samples=tuple(samples if digits is None else (round(sample, digits) for sample in samples)),
        versions=timing.versions,
    )


def operator_times(item: Runnable, bench: BenchSettings, session: Session) -> OperatorTimes:
    """See where the time of an inference goes on this machine.

    LiteRT's profiler is asked first. It is reached in ways that LiteRT does not promise: where its process ends, the
    times are derived without it.

    Raises:
        StepError: the interpreter refused the artifact, or its process ended or broke its limits.
    """
    job = OperatorTimesJob(
        artifact=str(session.give_file(item.path)), kernels=item.kernels, threads=bench.threads, time_s=bench.time
    )
    try:
        return _timed(job, item.path.name, session)
    except ChildDiedError as error:
        times = _timed(msgspec.structs.replace(job, profiler=False), item.path.name, session)
        return msgspec.structs.replace(times, notes=(*times.notes, f"with LiteRT's profiler {error.what}"))


def _timed(job: OperatorTimesJob, name: str, session: Session) -> OperatorTimes:
    action = OPERATOR_TIMES.action(job, title=f"time the operators of {name} on this machine")
    return session.run(action, again=True).result
