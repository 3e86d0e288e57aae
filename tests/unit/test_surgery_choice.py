"""Which channels matter, and which are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from surgery_networks import conv, graph_of, plain
from surgery_proof import end
from tf_keras import layers

from edgebuild.core.layers import LayerShape
from edgebuild.layer_costs import LatencyTable, tabulate
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.surgery import importance
from edgebuild.passes.surgery.channels import Channels
from edgebuild.passes.surgery.cost import Cost, Latency, Macs, ParameterBytes, Savings, full_counts, grids, total
from edgebuild.passes.surgery.cutting import cut
from edgebuild.passes.surgery.operators import operators
from edgebuild.passes.surgery.selection import Selection, select
from edgebuild.passes.surgery.tracing import trace


def _cost(graph: Graph, cost: Cost) -> float:
    channels = trace(graph)
    return total(operators(graph, channels), cost, full_counts(channels))


def _table(graph: Graph, channels: Channels, seconds: Callable[[LayerShape], float]) -> LatencyTable:
    wanted = grids(operators(graph, channels), 8)
    return tabulate(wanted, {shape: seconds(shape) for shapes in wanted.values() for shape in shapes})


def _weighted(graph: Graph, layer: str, **weights: Any) -> Graph:
    """A graph with other weights in one of its layers."""
    changed = graph.layers[layer]._replace(weights={**graph.layers[layer].weights, **weights})
    return graph._replace(layers={**graph.layers, layer: changed})


@pytest.mark.parametrize("order", [1, 2])
def test_magnitude_ranks_the_filters_of_a_layer_by_their_norm(order: Any) -> None:
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[0, 0, 0] = [3, -4, 1, 2]
    kernel[1, 1, 1] = [3, 0, 1, -2]
    graph = _weighted(graph_of(lambda x: end(conv("one", 4)(x))), "one", kernel=kernel)
    ranks = importance.magnitude(graph, trace(graph), order)[:4]
    sums = {1: [6, 4, 2, 4], 2: [18, 16, 2, 8]}[order]
    assert ranks[[2, 0]] == pytest.approx([sums[2] / sum(sums), 1.0])
    assert list(np.argsort(ranks, kind="stable")) == [2, *([1, 3] if order == 1 else [3, 1]), 0]


def test_magnitude_adds_up_all_that_produce_a_channel() -> None:
    graph = graph_of(lambda x: end(layers.Add()([conv("one", 4)(x), conv("two", 4)(x)])))
    for name, strong in (("one", 1), ("two", 2)):
        kernel = np.full((3, 3, 3, 4), 0.1, np.float32)
        kernel[..., strong] = 1
        graph = _weighted(graph, name, kernel=kernel)
    ranks = importance.magnitude(graph, trace(graph), 1)[:4]
    assert set(np.argsort(ranks)[2:]) == {1, 2}


def test_batch_norm_scale_is_the_size_of_gamma_and_says_nothing_where_there_is_none() -> None:
    graph = _weighted(graph_of(plain), "batch_normalization", gamma=np.arange(-8, 8, dtype=np.float32))
    channels = trace(graph)
    ranks = importance.batch_norm_scale(graph, channels)
    one, _, three = channels.groups
    assert list(ranks[list(one.classes)]) == [abs(value) for value in range(-8, 8)]
    assert np.isnan(ranks[list(three.classes)]).all()


def _squared_error(y: Any, outputs: Any) -> Any:
    return tf.reduce_mean(tf.square(outputs - y))


def _batches(graph: Graph, count: int = 2) -> list[importance.Batch]:
    rng = np.random.default_rng(0)
    shape = [size for size in graph.tensors[graph.inputs[0].tensor].shape if size]
    return [
        (rng.normal(size=(8, *shape)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32))
        for _ in range(count)
    ]


def test_taylor_is_the_squared_slope_of_the_loss_along_what_is_consumed() -> None:
    graph = graph_of(lambda x: layers.Dense(2, name="end")(layers.Dense(6, "relu", name="one")(x)), (5,))
    channels, batches = trace(graph), _batches(graph)
    found = importance.taylor(graph, channels, batches, _squared_error)[:6]
    wanted = []
    for channel in range(6):
        slopes = []
        for x, y in batches:
            losses = []
            for scale in (0.999, 1.001):
                kernel = graph.layers["end"].weights["kernel"].astype(np.float64).copy()
                kernel[channel] *= scale
                model = building.build(_weighted(graph, "end", kernel=kernel))
                losses.append(float(_squared_error(y, model(x).numpy().astype(np.float64))))
            slopes.append((losses[1] - losses[0]) / 0.002)
        wanted.append(np.mean(np.square(slopes)))
    assert found == pytest.approx(wanted, rel=0.05, abs=1e-5)


def test_taylor_sees_that_a_large_filter_may_be_of_no_use() -> None:
    graph = graph_of(lambda x: end(conv("two", 8)(conv("one", 8)(x))))
    kernel = graph.layers["two"].weights["kernel"].copy()
    kernel[:, :, 3] = 0
    graph = _weighted(graph, "two", kernel=kernel)
    channels = trace(graph)
    ranks = importance.taylor(graph, channels, _batches(graph), _squared_error)
    assert int(np.argmin(ranks[list(channels.groups[0].classes)])) == 3


def test_taylor_without_data_is_refused() -> None:
    graph = graph_of(plain)
    with pytest.raises(ValueError, match="needs a batch"):
        importance.taylor(graph, trace(graph), [], _squared_error)


def _selected(graph: Graph, ranks: Any = None, cost: Cost | None = None, **options: Any) -> Selection:
    channels = trace(graph)
    ranks = importance.magnitude(graph, channels, 2) if ranks is None else ranks
    return select(channels, operators(graph, channels), ranks, cost or Macs(), **options)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.3])
@pytest.mark.parametrize("multiple", [4, 8])
@pytest.mark.parametrize("cost", [Macs(), ParameterBytes()])
def test_selection_reaches_its_goal_with_multiples(keep: float, multiple: int, cost: Cost) -> None:
    graph = graph_of(plain)
    selection = _selected(graph, cost=cost, keep=keep, multiple=multiple)
    smaller = cut(graph, trace(graph), selection.removed)
    assert selection.before == _cost(graph, cost)
    assert selection.after == _cost(smaller, cost) <= keep * selection.before
    assert selection.notes == ()
    kept = {row.group: row.after for row in selection.groups}
    assert kept == {name: smaller.layers[name].config["filters"] for name in ("one", "two", "three")}
    assert all(count % multiple == 0 for count in kept.values())


def test_selection_takes_no_more_than_it_must() -> None:
    assert _selected(graph_of(plain), keep=1.0).removed == frozenset()
    selection = _selected(graph_of(plain), keep=0.95)
    assert sum(row.before != row.after for row in selection.groups) == 1


@pytest.mark.parametrize("keep", [0.85, 0.7, 0.6, 0.5, 0.35])
def test_no_layer_could_keep_more_without_missing_the_goal(keep: float) -> None:
    """A wide layer that is taken last saves more than is missing: narrow ones were taken for nothing before it."""

    def body(x: Any) -> Any:
        for number, filters in enumerate((24, 16, 64, 16, 32)):
            x = conv(f"c{number}", filters)(x)
        return end(x)

    graph = graph_of(body)
    channels = trace(graph)
    found = operators(graph, channels)
    selection = _selected(graph, keep=keep, multiple=8)
    counts = [row.after for row in selection.groups]
    assert total(found, Macs(), counts) == selection.after <= keep * selection.before
    for number, row in enumerate(selection.groups):
        if row.after < row.before:
            wider = [*counts[:number], min(row.before, row.after + 8), *counts[number + 1 :]]
            assert total(found, Macs(), wider) > keep * selection.before


@pytest.mark.parametrize(("rise", "fall", "keep"), [(0.3, 9, 0.5), (0.6, 6, 0.8), (1.0, 12, 0.7)])
def test_layers_agree_on_widths_where_that_costs_next_to_nothing(rise: float, fall: float, keep: float) -> None:
    """Layers of equal widths share their vectors of zero points."""

    def body(x: Any) -> Any:
        for number in range(6):
            x = conv(f"c{number}", 32)(x)
        return end(x)

    graph = graph_of(body)
    channels = trace(graph)
    found = operators(graph, channels)
    ranks = importance.magnitude(graph, channels, 2)
    for number, group in enumerate(channels.groups):  # each has a few channels that matter, of others less and less
        ranks[list(group.classes)] = (1 + rise * number) * np.exp(-np.arange(32) / fall)
    results = [_selected(graph, ranks, keep=keep, multiple=4, agree=agree) for agree in (False, True)]
    widths = [[row.after for row in result.groups] for result in results]
    assert all(0.97 * keep * result.before <= result.after <= keep * result.before for result in results)
    lost = [sum(ranks[item] for item in result.removed) for result in results]
    assert lost[1] <= 1.05 * lost[0]
    alone, agreed = (total(found, ParameterBytes(), counts) + 8 * sum(set(counts)) for counts in widths)
    assert len(set(widths[1])) < len(set(widths[0]))
    assert agreed < alone
    assert all(count % 4 == 0 for count in widths[1])


def test_layers_do_not_agree_where_that_loses_what_matters() -> None:
    def body(x: Any) -> Any:
        for number in range(3):
            x = conv(f"c{number}", 16)(x)
        return end(x)

    graph = graph_of(body)
    channels = trace(graph)
    ranks = importance.magnitude(graph, channels, 2)
    for group, kept in zip(channels.groups, (16, 12, 8), strict=True):
        ranks[list(group.classes)] = [100.0 if place < kept else 1e-3 for place in range(16)]
    options = {"keep": 0.62, "multiple": 4}
    apart, together = (_selected(graph, ranks, agree=agree, **options) for agree in (False, True))
    assert [row.after for row in apart.groups] == [16, 12, 8]
    assert together == apart


def test_a_count_that_is_no_multiple_comes_down_to_one() -> None:
    graph = graph_of(lambda x: end(conv("two", 21)(conv("one", 13)(x))))
    selection = _selected(graph, keep=0.9)
    assert {(row.before, row.after) for row in selection.groups} <= {(13, 13), (13, 8), (21, 21), (21, 16), (21, 8)}
    assert selection.removed


def test_what_has_no_more_than_the_multiple_stays_and_the_goal_that_is_missed_is_told() -> None:
    selection = _selected(graph_of(lambda x: end(conv("two", 8)(conv("one", 6)(x)))), keep=0.5)
    assert selection.removed == frozenset()
    assert selection.after == selection.before
    assert selection.notes[0].startswith("100.0% of the MACs are left, 50.0% were asked for")


def test_no_group_goes_under_its_least_share() -> None:
    selection = _selected(graph_of(plain), keep=0.01, multiple=1, least=0.5)
    assert [row.after for row in selection.groups] == [8, 16, 12]
    assert "were asked for" in selection.notes[0]


def test_a_class_of_several_channels_counts_as_several() -> None:
    graph = graph_of(lambda x: end(conv("two", 32, groups=16)(conv("one", 32)(x))))
    (row,) = _selected(graph, keep=0.6).groups
    assert (row.before, row.after) == (32, 16)
    assert row.layers == ("one", "two")


def test_excluded_layers_keep_their_channels() -> None:
    selection = _selected(graph_of(plain), keep=0.3, least=0, exclude=["two"])
    rows = {row.group: row for row in selection.groups}
    assert (rows["two"].after, rows["two"].note) == (32, "two is excluded")
    assert rows["one"].after < 16


def test_groups_that_the_criterion_does_not_know_are_left_alone() -> None:
    graph = graph_of(plain)
    selection = _selected(graph, importance.batch_norm_scale(graph, trace(graph)), keep=0.3)
    rows = {row.group: row for row in selection.groups}
    assert (rows["three"].after, rows["three"].note) == (24, "the criterion says nothing of its channels")
    assert rows["two"].after < 32


def _widening(x: Any) -> Any:
    x = conv("three", 40)(conv("two", 24)(conv("one", 16, 1)(x)))
    return layers.Dense(2, name="end")(layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("body", [plain, _widening])
def test_of_equally_important_channels_those_go_that_save_most(body: Callable[[Any], Any]) -> None:
    graph = graph_of(body)
    channels = trace(graph)
    alike = np.ones(channels.classes)
    found, counts = operators(graph, channels), full_counts(channels)
    for cost in (Macs(), ParameterBytes()):
        savings = Savings(found, cost, 3)
        saved = [savings.of(group, count - 8, counts) for group, count in enumerate(counts)]
        selection = _selected(graph, alike, cost, keep=0.99)
        (cut_row,) = [number for number, row in enumerate(selection.groups) if row.before != row.after]
        assert cut_row == int(np.argmax(saved))


def test_the_least_important_channels_of_a_group_go() -> None:
    graph = graph_of(lambda x: end(conv("one", 16)(x)))
    ranks = np.random.default_rng(0).permutation(trace(graph).classes).astype(float)
    selection = _selected(graph, ranks, keep=0.5)
    assert selection.removed == set(np.argsort(ranks[:16])[:8].tolist())


def test_a_step_that_saves_no_time_is_taken_together_with_the_next() -> None:
    graph = graph_of(lambda x: end(conv("one", 32)(x)))
    channels = trace(graph)
    found = operators(graph, channels)
    table = _table(graph, channels, lambda shape: 1e-6 if shape.out_channels <= 16 else 2e-6)
    selection = _selected(graph, cost=Latency(table, found, channels), keep=0.8)
    assert [row.after for row in selection.groups] == [16]


@pytest.mark.parametrize("wrong", [{"keep": 0.0}, {"keep": 1.5}, {"keep": 0.5, "multiple": 0}])
def test_a_selection_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        _selected(graph_of(plain), **wrong)


def test_ranking_by_another_cost_takes_other_channels_for_the_same_goal() -> None:
    """The early layer has most of the MACs, the late one most of the bytes."""

    def body(x: Any) -> Any:
        x = layers.GlobalAveragePooling2D()(conv("early", 16)(x))
        return layers.Dense(200)(layers.Dense(64, name="late")(x))

    graph = graph_of(body)
    channels = trace(graph)
    found = operators(graph, channels)
    equal = np.ones(channels.classes)
    by_macs, by_bytes = (
        select(channels, found, equal, Macs(), keep=0.6, ranked_by=ranked, multiple=1)
        for ranked in (Macs(), ParameterBytes())
    )
    assert by_macs.after <= 0.6 * by_macs.before
    assert by_bytes.after <= 0.6 * by_bytes.before
    assert [item.after for item in by_macs.groups] != [item.after for item in by_bytes.groups]
    assert by_macs.groups[0].after < by_bytes.groups[0].after
