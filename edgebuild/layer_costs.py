"""What layers cost at channel counts that were not measured: which counts to measure, and the time between them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from edgebuild.core.layers import LayerKind, LayerShape


def grid(
    shape: LayerShape, multiple: int, points: int = 4, *, input_shrinks: bool = True, output_shrinks: bool = True
) -> list[LayerShape]:
    """The shapes to measure for a layer whose channels may be pruned, each combination of inputs and outputs.

    Counts are multiples of `multiple`, evenly spread from the smallest to the layer's own, since kernels take as long
    for a part of a vector register as for a full one. A count of the layer's own that is no multiple is measured
    beside the largest multiple below it. The channels of a depthwise layer shrink together.

    Args:
        shape: the layer as it is.
        multiple: what pruned counts are multiples of.
        points: how many counts to measure for each side, at least 2; less where there are not so many.
        input_shrinks: whether the input's channels may be pruned; an image's may not.
        output_shrinks: likewise for the output's; the classes of a classifier may not.
    """
    if multiple < 1 or points < 2:
        raise ValueError(f"there is no grid of {points} points with multiples of {multiple}")
    taken = _counts(shape.in_channels, multiple, points) if input_shrinks else (shape.in_channels,)
    if shape.kind == LayerKind.DEPTHWISE_CONV_2D:
        multiplier = shape.out_channels // shape.in_channels
        return [_resized(shape, count, count * multiplier) for count in taken]
    made = _counts(shape.out_channels, multiple, points) if output_shrinks else (shape.out_channels,)
    return [_resized(shape, count, outputs) for count in taken for outputs in made]


def _counts(full: int, multiple: int, points: int) -> tuple[int, ...]:
    """At most `points` multiples from the smallest to the largest that is not over `full`, and `full` itself."""
    most = full // multiple
    spread = {round(1 + (most - 1) * point / (points - 1)) * multiple for point in range(points)} if most else set()
    return tuple(sorted(spread | {full}))


def _resized(shape: LayerShape, in_channels: int, out_channels: int) -> LayerShape:
    return msgspec.structs.replace(shape, in_channels=in_channels, out_channels=out_channels)


class LayerCosts(msgspec.Struct, frozen=True, kw_only=True):
    """One layer's times over a grid: `times_s[i][o]` is that of `in_counts[i]` inputs and `out_counts[o]` outputs.

    Counts rise. A depthwise layer has one entry in `out_counts`, since its inputs decide.
    """

    layer: LayerShape
    in_counts: tuple[int, ...]
    out_counts: tuple[int, ...]
    times_s: tuple[tuple[float, ...], ...]

    def time_s(self, in_channels: int, out_channels: int) -> float:
        """The time at any counts: bilinear between measured ones, that of the nearest edge beyond them."""
        place = _place(self.in_counts, in_channels)
        lower = _between(self.out_counts, self.times_s[place.below], out_channels)
        upper = _between(self.out_counts, self.times_s[place.above], out_channels)
        return lower + (upper - lower) * place.share


class _Place(NamedTuple):
    """The entries around a count, and how far it is on the way from one to the other; beyond an edge, the edge."""

    below: int
    above: int
    share: float


def _place(counts: Sequence[int], count: int) -> _Place:
    below = max(0, bisect.bisect_right(counts, count) - 1)
    above = min(below + 1, len(counts) - 1)
    way = counts[above] - counts[below]
    return _Place(below, above, max(0.0, (count - counts[below]) / way) if way else 0.0)


def _between(counts: Sequence[int], times_s: Sequence[float], count: int) -> float:
    below, above, share = _place(counts, count)
    return times_s[below] + (times_s[above] - times_s[below]) * share


class LatencyTable(msgspec.Struct, frozen=True, kw_only=True):
    """The costs of a network's layers, one entry for layers of equal shape."""

    layers: tuple[LayerCosts, ...]

    def time_s(self, layer: LayerShape, in_channels: int, out_channels: int) -> float:
        """The seconds that a layer, named by its shape before pruning, takes with other counts of channels.

        Raises:
            ValueError: the layer is not in the table.
        """
        for costs in self.layers:
            if costs.layer == layer:
                return costs.time_s(in_channels, out_channels)
        raise ValueError(f"the table has no {layer.label}")


def tabulate(grids: Mapping[LayerShape, Iterable[LayerShape]], times_s: Mapping[LayerShape, float]) -> LatencyTable:
    """The table of measured layers.

    Args:
        grids: for each layer what `grid` gave for it.
        times_s: the measured seconds of each shape of the grids.

    Raises:
        ValueError: a shape has no time, or a grid lacks a combination of its counts.
    """
    return LatencyTable(layers=tuple(_costs(layer, points, times_s) for layer, points in grids.items()))


def _costs(layer: LayerShape, points: Iterable[LayerShape], times_s: Mapping[LayerShape, float]) -> LayerCosts:
    measured = {(point.in_channels, _outputs(point, layer)): _time_s(point, times_s) for point in points}
    in_counts = tuple(sorted({taken for taken, _ in measured}))
    out_counts = tuple(sorted({made for _, made in measured}))
    if len(measured) != len(in_counts) * len(out_counts):
        raise ValueError(f"not every combination of counts was measured for {layer.label}")
    rows = tuple(tuple(measured[taken, made] for made in out_counts) for taken in in_counts)
    return LayerCosts(layer=layer, in_counts=in_counts, out_counts=out_counts, times_s=rows)


def _outputs(point: LayerShape, layer: LayerShape) -> int:
    return layer.out_channels if layer.kind == LayerKind.DEPTHWISE_CONV_2D else point.out_channels


def _time_s(point: LayerShape, times_s: Mapping[LayerShape, float]) -> float:
    if point not in times_s:
        raise ValueError(f"not measured: {point.label}")
    return times_s[point]
