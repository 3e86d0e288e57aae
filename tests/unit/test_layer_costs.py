from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.layer_costs import LatencyTable, grid, tabulate


def _conv(in_channels: int, out_channels: int, kind: str = LayerKind.CONV_2D) -> LayerShape:
    window: Any = {} if kind == LayerKind.FULLY_CONNECTED else {"height": 7, "width": 6, "kernel": (3, 3)}
    return LayerShape(kind=LayerKind(kind), in_channels=in_channels, out_channels=out_channels, **window)


def _depthwise(in_channels: int, out_channels: int) -> LayerShape:
    return _conv(in_channels, out_channels, LayerKind.DEPTHWISE_CONV_2D)


def _counts(shapes: Sequence[LayerShape]) -> list[tuple[int, int]]:
    return [(shape.in_channels, shape.out_channels) for shape in shapes]


def test_a_grid_holds_each_combination_of_multiples_up_to_the_layers_own() -> None:
    layer = _conv(16, 128)
    assert _counts(grid(layer, 8, 3)) == [(8, 8), (8, 64), (8, 128), (16, 8), (16, 64), (16, 128)]
    assert {msgspec.structs.replace(shape, in_channels=16, out_channels=128) for shape in grid(layer, 8, 3)} == {layer}


def test_a_count_that_is_no_multiple_stands_beside_the_largest_below_it() -> None:
    assert _counts(grid(_conv(64, 100, LayerKind.FULLY_CONNECTED), 16, 2, input_shrinks=False)) == [
        (64, 16),
        (64, 96),
        (64, 100),
    ]


def test_sides_that_keep_their_channels_have_one_count() -> None:
    assert _counts(grid(_conv(3, 16), 8, input_shrinks=False)) == [(3, 8), (3, 16)]
    assert _counts(grid(_conv(16, 10), 8, output_shrinks=False)) == [(8, 10), (16, 10)]
    assert _counts(grid(_conv(4, 8), 8)) == [(4, 8)]


def test_the_channels_of_a_depthwise_layer_shrink_together() -> None:
    assert _counts(grid(_depthwise(32, 64), 8)) == [(8, 16), (16, 32), (24, 48), (32, 64)]


@pytest.mark.parametrize(("multiple", "points"), [(0, 4), (8, 1)])
def test_a_grid_of_nothing_is_refused(multiple: int, points: int) -> None:
    with pytest.raises(ValueError, match=f"{points} points with multiples of {multiple}"):
        grid(_conv(8, 12), multiple, points)


LARGE = _conv(96, 200)
_FACTORS = st.floats(0, 1)


def _table(layer: LayerShape, *factors: float) -> LatencyTable:
    points = grid(layer, 8)
    return tabulate({layer: points}, {point: _plain_s(*_counts([point])[0], *factors) for point in points})


def _plain_s(taken: int, made: int, fixed: float, each_taken: float, each_made: float, each_pair: float) -> float:
    return fixed + each_taken * taken + each_made * made + each_pair * taken * made


@given(st.integers(8, 96), st.integers(8, 200), st.tuples(_FACTORS, _FACTORS, _FACTORS, _FACTORS))
def test_between_measured_counts_times_that_grow_evenly_come_out_exactly(
    taken: int, made: int, factors: tuple[float, float, float, float]
) -> None:
    assert _table(LARGE, *factors).time_s(LARGE, taken, made) == pytest.approx(_plain_s(taken, made, *factors))


def test_measured_counts_have_their_measured_time_whatever_lies_around() -> None:
    rng = np.random.default_rng(6)
    times_s = {point: float(rng.uniform(1e-6, 1e-3)) for point in grid(LARGE, 8)}
    table = tabulate({LARGE: grid(LARGE, 8)}, times_s)
    for point, time_s in times_s.items():
        assert table.time_s(LARGE, point.in_channels, point.out_channels) == time_s


def test_between_four_measured_times_lies_their_weighted_mean() -> None:
    layer = _conv(16, 24)
    times_s = dict(zip(grid(layer, 8, 2), (1.0, 2.0, 3.0, 8.0), strict=True))
    table = tabulate({layer: grid(layer, 8, 2)}, times_s)
    assert table.time_s(layer, 12, 16) == (1.0 + 2.0 + 3.0 + 8.0) / 4
    assert table.time_s(layer, 8, 12) == 0.75 * 1.0 + 0.25 * 2.0


def test_beyond_the_measured_counts_the_nearest_edge_holds() -> None:
    table = _table(LARGE, 1.0, 2.0, 3.0, 4.0)
    assert table.time_s(LARGE, 1, 300) == table.time_s(LARGE, 8, 200)
    assert table.time_s(LARGE, 500, 0) == table.time_s(LARGE, 96, 8)


def test_a_depthwise_layers_time_is_that_of_its_inputs() -> None:
    layer = _depthwise(64, 64)
    table = _table(layer, 0.0, 1.0, 0.0, 0.0)
    assert table.time_s(layer, 20, 20) == pytest.approx(20)


def test_each_layer_has_its_own_grid_though_windows_are_alike() -> None:
    small = _conv(8, 16)
    grids = {layer: grid(layer, 8) for layer in (LARGE, small)}
    times_s = {point: float(point.macs) for points in grids.values() for point in points}
    table = tabulate(grids, times_s)
    assert table.time_s(small, 8, 12) == msgspec.structs.replace(small, out_channels=12).macs
    assert table.time_s(LARGE, 50, 100) == pytest.approx(
        msgspec.structs.replace(LARGE, in_channels=50, out_channels=100).macs
    )


def test_a_table_goes_to_another_process_and_back_unchanged() -> None:
    table = _table(LARGE, 1.0, 2.0, 3.0, 4.0)
    assert msgspec.json.decode(msgspec.json.encode(table), type=LatencyTable) == table


def test_what_was_not_measured_is_refused() -> None:
    points = grid(LARGE, 8)
    times_s = dict.fromkeys(points, 1.0)
    with pytest.raises(ValueError, match="not every combination"):
        tabulate({LARGE: points[1:]}, times_s)
    with pytest.raises(ValueError, match="not measured: conv_2d of 7x6x8 to 8 channels"):
        tabulate({LARGE: points}, dict.fromkeys(points[1:], 1.0))
    with pytest.raises(ValueError, match="the table has no conv_2d of 7x6x8 to 12 channels"):
        tabulate({LARGE: points}, times_s).time_s(_conv(8, 12), 8, 8)
