"""The passes before quantization: each takes the network that the one before it left."""

from __future__ import annotations

from typing import NamedTuple

from edgebuild.core.passes import Channels, Cluster, Compression, Cost, QuantizeAware, Student
from edgebuild.core.plan import Plan, Source
from edgebuild.engine import steps
from edgebuild.engine.session import Session
from edgebuild.engine.steps import Changeable, Data, Network
from edgebuild.errors import StepError
from edgebuild.layer_costs import LatencyTable, tabulate
from edgebuild.passes import jobs
from edgebuild.process import ChildDiedError
from edgebuild.report import wording
from edgebuild.runtimes.jobs import LayerTimes


class Compressed(NamedTuple):
    """The network to quantize, and what is to be said of the passes."""

    network: Network
    notes: tuple[str, ...]


def compress(plan: Plan, model: Source, path: str, network: Network, data: Data | None, session: Session) -> Compressed:
    """Do the plan's passes, as far as there is what they need.

    Args:
        plan: whose passes are done.
        model: the network as its user gave it.
        path: where it is.
        network: the same, frozen: what is quantized where no pass changes anything.
        data: divided data, or None.
        session: where steps are done or found.

    Raises:
        EdgebuildError: a pass failed. A pass that cannot be done at all is left out and noted.
    """
    learns = data is not None and data.learns
    wanted = [step for step in plan.compressions if learns or _works_untrained(step)]
    notes = [f"{wording.kind(step)} was left out: {_NO_DATA}" for step in plan.compressions if step not in wanted]
    if not wanted:
        return Compressed(network, tuple(notes))
    try:
        carried = session.transform(steps.carry(plan, model, path))
    except ChildDiedError:
        raise
    except StepError as error:
        names = ", ".join(wording.kind(step) for step in wanted)
        return Compressed(network, (*notes, f"{names} left out: {error.what}. {error.why}".strip()))
    answer = carried.read(jobs.Carried)
    original = Changeable(carried.path / jobs.NETWORK, answer.identity_sha256)
    notes += answer.notes
    current, frozen = original, None
    clustered = False
    for step in wanted:
        if isinstance(step, QuantizeAware) and step.only_ranges and not clustered:
            continue  # there are no clusters to keep: the converter chooses ranges as ever
        latencies = _latencies(plan, step, current, session)
        made = session.transform(steps.compress(plan, step, current, original, data, latencies))
        result = made.read(jobs.Compressed)
        notes += result.notes
        clustered |= isinstance(step, Cluster) and result.identity_sha256 != current.identity
        current = Changeable(made.path / jobs.NETWORK, result.identity_sha256)
        frozen = Network(result.frozen, made.path / jobs.SAVED_MODEL, result.identity_sha256) if result.frozen else None
    if current.identity == original.identity:
        return Compressed(network, tuple(notes))
    return Compressed(frozen or _freeze(plan, current, session), tuple(notes))


_NO_DATA = "there are no train data to recover with (untrained = true does it anyway)"


def _works_untrained(step: Compression) -> bool:
    return not isinstance(step, Student) and step.untrained


def _latencies(plan: Plan, step: Compression, network: Changeable, session: Session) -> LatencyTable | None:
    """The measured times of a network's layers, where channels are ranked by them."""
    if not isinstance(step, Channels) or Cost.LATENCY not in (step.cost, step.rank_by):
        return None
    grids = dict(session.transform(steps.layers(plan, step, network)).read(jobs.Layers).grids)
    shapes = tuple(dict.fromkeys(shape for grid in grids.values() for shape in grid))
    (made,) = session.run([steps.layer_times(plan, shapes)])
    return tabulate(grids, dict(zip(shapes, made.read(LayerTimes).times_s, strict=True)))


def _freeze(plan: Plan, network: Changeable, session: Session) -> Network:
    made = session.transform(steps.freeze_changed(plan, network))
    frozen = made.read(jobs.Frozen)
    return Network(frozen, made.path / jobs.SAVED_MODEL, frozen.identity_sha256)
