"""One round of surgery: what to take out of a network to get its cost down, channels or a whole block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from edgebuild.core import passes
from edgebuild.decode import require_known
from edgebuild.layer_costs import LatencyTable
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery import blocks, cost, importance
from edgebuild.passes.surgery.channels import Channels
from edgebuild.passes.surgery.cost import Cost, Latency, Macs, ParameterBytes
from edgebuild.passes.surgery.cutting import cut
from edgebuild.passes.surgery.operators import Operator, operators
from edgebuild.passes.surgery.selection import select
from edgebuild.passes.surgery.tracing import trace

_MEASURED_AGAIN = 2
# Batches that importance and the worth of a block are measured on.
_BATCHES = 8


class Evidence(Protocol):
    """Train data, as surgery needs them."""

    def batches(self, count: int) -> Sequence[importance.Batch]:
        """Samples to learn from, with what the loss takes beside the outputs."""

    def criterion(self, wanted: Any, outputs: Any) -> Any:
        """The loss of a batch, a scalar tensor."""

    def losses(self, graph: Graph, parts: Sequence[Graph]) -> Sequence[float]:
        """The losses of networks made of layers of one, their batch norms brought up to date."""

    def refresh(self, model: Any) -> None:
        """Bring the batch norms of a model up to date."""


class Cut(NamedTuple):
    """A smaller network, and the names of the blocks that were dropped for it."""

    graph: Graph
    dropped: tuple[str, ...] = ()


class _Traced(NamedTuple):
    """A network, its channels, and its operators under the shapes by which the table of latencies knows them."""

    graph: Graph
    channels: Channels
    operators: list[Operator]


class Surgeon:
    """Makes networks smaller, all held against the cost of the first one.

    Args:
        graph: the network before the first round.
        settings: of the pass.
        table: measured times of its layers, where the cost is latency.
        evidence: None where there are no train data: then weights alone tell what matters, and no block is dropped.

    Raises:
        UsageError: a layer that is to be excluded does not exist.
    """

    def __init__(
        self, graph: Graph, settings: passes.Channels, table: LatencyTable | None, evidence: Evidence | None
    ) -> None:
        require_known("passes.channels.exclude", settings.exclude, graph.layers, "the network")
        self._settings, self._table, self._evidence = settings, table, evidence
        self._losses: dict[str, float] = {}  # without a block, by its name
        channels = trace(graph)
        self._first = {key: operator.shape for key, operator in _by_use(operators(graph, channels))}
        self._whole = self._total(self._traced(graph))
        self.left_alone = tuple(item.text for item in channels.left_alone)

    def cuts(self, graph: Graph, share: float) -> list[Cut]:
        """Ways to bring a network down to a share of the first one's cost, the likeliest first; none where it is there.

        The first takes channels alone. The second, where blocks may be dropped and one saves no more than is asked
        for in the end, drops the block that loses least for what it saves, and channels for the rest.
        """
        traced = self._traced(graph)
        plain = self._narrowed(traced, share)
        if plain is None:
            return []
        block = self._worst_block(traced)
        if block is None:
            return [plain]
        shorter = self._refreshed(blocks.drop(graph, block))
        narrower = self._narrowed(self._traced(shorter), share) or Cut(shorter)
        return [plain, Cut(narrower.graph, (block.name,))]

    def _refreshed(self, graph: Graph) -> Graph:
        if self._evidence is None:
            return graph
        model = building.build(graph)
        self._evidence.refresh(model)
        return building.learned(graph, model)

    def share(self, graph: Graph) -> float:
        """The cost of a network, as a share of the first one's."""
        return self._total(self._traced(graph)) / self._whole

    def _narrowed(self, traced: _Traced, share: float) -> Cut | None:
        graph, channels, found = traced
        keep = share * self._whole / self._total(traced)
        if keep >= 1 or not channels.groups:
            return None
        selection = select(
            channels,
            found,
            self._importance(graph, channels),
            self._cost(self._settings.cost, traced),
            keep=keep,
            ranked_by=self._cost(self._settings.rank_by, traced),
            multiple=self._settings.multiple,
            exclude=self._settings.exclude,
            # Early rounds leave the widths open that later ones choose from, and time depends on widths of its own.
            agree=share <= self._settings.keep
            and passes.Cost.LATENCY not in (self._settings.cost, self._settings.rank_by),
        )
        return Cut(cut(graph, channels, selection.removed)) if selection.removed else None

    def _importance(self, graph: Graph, channels: Channels) -> importance.Importance:
        kind = self._settings.importance
        if kind == passes.Importance.TAYLOR and self._evidence is not None:
            batches = self._evidence.batches(_BATCHES)
            return importance.taylor(graph, channels, batches, self._evidence.criterion)
        if kind == passes.Importance.BATCH_NORM:
            return importance.batch_norm_scale(graph, channels)
        return importance.magnitude(graph, channels, 1 if kind == passes.Importance.L1 else 2)

    def _worst_block(self, traced: _Traced) -> blocks.Block | None:
        """The block that is missed least for what it costs; None where none may go."""
        if not self._settings.blocks or self._evidence is None:
            return None
        graph, channels, found = traced
        spare = self._total(traced) - self._settings.keep * self._whole
        price, counts = self._cost(self._settings.cost, traced), cost.full_counts(channels)
        saves: dict[blocks.Block, float] = {}
        for block in blocks.find(graph):
            saved = blocks.saved(block, found, price, counts)
            touches_excluded = any(graph.calls[number].layer in self._settings.exclude for number in block.calls)
            if 0 < saved <= spare and not touches_excluded:
                saves[block] = saved

        def price_of(block: blocks.Block) -> float:
            return self._losses[block.name] / saves[block]

        # All are measured once, and the likeliest of those of an earlier round again: each takes seconds.
        new = [block for block in saves if block.name not in self._losses]
        likely = sorted((block for block in saves if block not in new), key=price_of)[:_MEASURED_AGAIN]
        tried = [*new, *likely]
        found_losses = self._evidence.losses(graph, [blocks.drop(graph, block) for block in tried]) if tried else ()
        self._losses.update(zip((block.name for block in tried), found_losses, strict=True))
        return min((*new, *likely), key=price_of, default=None)

    def _total(self, traced: _Traced) -> float:
        return cost.total(traced.operators, self._cost(self._settings.cost, traced), cost.full_counts(traced.channels))

    def _traced(self, graph: Graph) -> _Traced:
        channels = trace(graph)
        found = _by_use(operators(graph, channels))
        return _Traced(graph, channels, [operator._replace(shape=self._first.get(key)) for key, operator in found])

    def _cost(self, kind: passes.Cost, traced: _Traced) -> Cost:
        if kind == passes.Cost.LATENCY:
            assert self._table is not None, "the engine measures what is ranked by"
            return Latency(self._table, traced.operators, traced.channels)
        return _COSTS[kind]()


# The weights whose last axis has a filter for each channel that a layer makes.
_KERNELS = ("kernel", "pointwise_kernel")
_COSTS: dict[passes.Cost, Callable[[], Cost]] = {passes.Cost.MACS: Macs, passes.Cost.BYTES: ParameterBytes}


def _by_use(found: Sequence[Operator]) -> Iterator[tuple[tuple[str, int], Operator]]:
    """Operators by layer and which of its operators each is: separable and shared layers have several."""
    seen: dict[str, int] = {}
    for operator in found:
        number = seen.setdefault(operator.layer, 0)
        seen[operator.layer] += 1
        yield (operator.layer, number), operator


def narrowed(before: Graph, after: Graph) -> tuple[str, ...]:
    """How many channels each layer lost, in one sentence; none where no layer did."""
    lost = []
    for name, layer in after.layers.items():
        for weight in _KERNELS:
            if weight in layer.weights:
                old, new = before.layers[name].weights[weight].shape, layer.weights[weight].shape
                lost += [f"{name} {old[-1]} -> {new[-1]}"] if old[-1] > new[-1] else []
    return (f"channels: {', '.join(lost)}",) if lost else ()
