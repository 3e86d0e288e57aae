"""The passes before quantization: each takes the network that the one before it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import readback
from edgebuild.actions import networks
from edgebuild.core.action import Ref
from edgebuild.core.model import ModelSpec
from edgebuild.core.passes import Change, Channels
from edgebuild.core.plan import Plan
from edgebuild.errors import StepError
from edgebuild.execution.session import Session
from edgebuild.layer_costs import LatencyTable, tabulate
from edgebuild.pipeline import asking, fallback, prepare
from edgebuild.pipeline.artifacts import Data, Network
from edgebuild.pipeline.fallback import FAILURES, PassDiedError, RequiredError
from edgebuild.pipeline.prepare import Loaded
from edgebuild.process import ChildBugError, ChildDiedError
from edgebuild.report import wording


class Compressed(NamedTuple):
    """The network to quantize.

    Attributes:
        network: the network.
        unquantized: the same without nodes that quantize; None where it was trained with them.
        plan: that of the build, with layers named as this network has them.
        is_smaller: whether a compression changed it.
        notes: what is to be said of the passes.
    """

    network: Network
    unquantized: Network | None
    plan: Plan
    is_smaller: bool
    notes: tuple[str, ...]


def compress(plan: Plan, loaded: Loaded, network: Network, data: Data | None, session: Session) -> Compressed:
    """Do the plan's passes before quantization, as far as there is what they need.

    Args:
        plan: whose passes are done.
        loaded: the network as its user gave it.
        network: the same, frozen: what is quantized where no pass changes anything.
        data: divided data, or None.
        session: where actions are done or found.

    Raises:
        EdgebuildError: a compression failed. What cannot be done at all, and a refinement that fails, is noted.
    """
    learns = data is not None and data.learns
    asked, plan = plan, with_layers_of_nested(plan, network)
    chosen = [step for step in plan.changes if learns or step.works_untrained]
    notes = [f"{wording.kind(step)} was left out: {_NO_DATA}" for step in plan.changes if step not in chosen]
    if not chosen:
        return Compressed(network, network, plan, is_smaller=False, notes=tuple(notes))
    try:
        original, answer = prepare.with_layers(plan, loaded, session)
    except FAILURES as error:
        names = ", ".join(wording.kind(step) for step in chosen)
        reason = f"{names} left out: {fallback.reason(error)}"
        return Compressed(network, network, plan, is_smaller=False, notes=(*notes, reason))
    walk = _Walk(_named_as_now(asked, taken_apart(network.frozen.network, answer)), original, data, session)
    for step in chosen:
        if step.refines:
            walk.refine(step)
        else:
            walk.compress(step)
    said = (*notes, *answer.notes, *walk.notes)
    if not walk.is_changed:
        return Compressed(network, network, plan, is_smaller=False, notes=said)
    return Compressed(walk.frozen(), walk.unquantized(network), walk.plan, is_smaller=walk.is_smaller, notes=said)


def with_layers_of_nested(plan: Plan, network: Network) -> Plan:
    """The plan for a network as it was given, its layers named where the plan names networks nested in it."""
    return _named_as_now(plan, network.frozen.network.within)


class _Walk:
    """From pass to pass, each on what the one before left."""

    def __init__(self, plan: Plan, original: Ref, data: Data | None, session: Session) -> None:
        self._original, self._data, self._session = original, data, session
        self.plan = plan  # with layers named as the network has them now
        self._current = original
        self._frozen: Network | None = None  # with nodes that quantize
        self._unquantized: Ref | None = original
        self._has_clusters = False
        self.is_smaller = False
        self.notes: list[str] = []

    @property
    def is_changed(self) -> bool:
        return self._current.identity != self._original.identity

    def frozen(self) -> Network:
        """The network as it is now, to be quantized."""
        return self._frozen or self._freeze(self._current)

    def unquantized(self, given: Network) -> Network | None:
        """The float network that it approximates; `given` is the one that all began with."""
        if self._unquantized is None:
            return None
        return given if self._unquantized.identity == self._original.identity else self._freeze(self._unquantized)

    def _freeze(self, network: Ref) -> Network:
        return prepare.frozen(self.plan, network, self._session)

    def compress(self, step: Change) -> None:
        if step.keeps_shared_values and not self._has_clusters:
            return  # there are no clusters to keep: ranges are chosen as ever
        before = self._current
        try:
            self._do(step)
        except (ChildDiedError, ChildBugError) as error:
            raise PassDiedError(step, error) from None
        except StepError as error:
            raise RequiredError(error.what, error.why, error.remedy) from None
        has_changed = self._current.identity != before.identity
        self.is_smaller |= has_changed
        self._has_clusters |= step.shares_values and has_changed

    def refine(self, step: Change) -> None:
        if self._has_clusters:
            self.notes.append(f"{wording.kind(step)} was left out: it would undo the shared values")
            return
        try:
            self._do(step)
        except FAILURES as error:
            self.notes.append(f"{wording.kind(step)} was left out: {fallback.reason(error)}")

    def _do(self, step: Change) -> None:
        latencies = _latencies(self.plan, step, self._current, self._session)
        made = self._session.run(asking.change(self.plan, step, self._current, self._original, self._data, latencies))
        result = made.result
        self.notes += result.notes
        before = self._current
        self._current = made.ref(networks.NETWORK, result.identity_sha256)
        self._frozen = None
        if result.frozen is not None:
            self._frozen = Network(result.frozen, made.ref(networks.SAVED_MODEL, result.identity_sha256))
        self._unquantized = None if step.trains_for_int8 else before if self._frozen is not None else self._current
        self.plan = _named_as_now(self.plan, result.instead)


def taken_apart(network: ModelSpec, carried: networks.Carried) -> dict[str, tuple[str, ...]]:
    """For each layer, and each network nested in the network, the layers that do what it did once it is taken apart."""
    parts = {
        name: tuple(layer for layer in carried.layers if readback.is_part(layer, of=name)) for name in network.layers
    }
    nested = {name: tuple(part for layer in inner for part in parts[layer]) for name, inner in network.within.items()}
    return {name: found for name, found in {**parts, **nested}.items() if found}


def _named_as_now(plan: Plan, instead: Mapping[str, tuple[str, ...]]) -> Plan:
    quantize = plan.quantize
    named = replace(quantize, float_layers=readback.named_now(quantize.float_layers, instead))
    return replace(plan, passes=tuple(named if step == quantize else step for step in plan.passes))


_NO_DATA = "there are no train data to recover with (untrained = true does it anyway)"


def _latencies(plan: Plan, step: Change, network: Ref, session: Session) -> LatencyTable | None:
    """The measured times of a network's layers, where channels are ranked by them."""
    if not isinstance(step, Channels) or not step.ranks_by_latency:
        return None
    grids = dict(session.run(asking.layers(plan, step, network)).result.grids)
    shapes = tuple(dict.fromkeys(shape for grid in grids.values() for shape in grid))
    made = session.run(asking.layer_times(plan, shapes))
    return tabulate(grids, dict(zip(shapes, made.result.times_s, strict=True)))
