"""Which scales a network's channels get: those of a few candidates with which int8 loses least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from edgebuild.passes.equalization.scaling import Group, Scales, Scaling, groups
from edgebuild.passes.equalization.statistics import Batch, Extents, amplitudes
from edgebuild.passes.equalization.trial import Shown, Trial, shown, taken
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.running import Pool

# How much of the spread of activations goes over into the weights behind them.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_GAIN = 0.95  # of the error as it was: less than this is noise of the few samples
_RANGE = 1e-6  # between the smallest and the largest channel; what is smaller does not count
_REACHED = 1 - 1e-5  # of a cap, where float arithmetic may end up just below it


class Measures(NamedTuple):
    """What scales are computed from, by class.

    Attributes:
        amplitude: the largest absolute activation; 0 for channels that are dead.
        taken: as `trial.taken`.
        floor: the least scale with which no value reaches a cap; 0 without one.
        stuck: whether a cap is reached as it is: then the scale must stay.
    """

    amplitude: Scales
    taken: Scales
    floor: Scales
    stuck: np.typing.NDArray[np.bool_]


class Chosen(NamedTuple):
    """Scales, the groups that they were chosen for, and the numbers of those that are changed."""

    scales: Scales
    groups: tuple[Group, ...]
    changed: tuple[int, ...]


def choose(
    graph: Graph,
    scaling: Scaling,
    extents: Extents,
    batches: Sequence[Batch],
    known: Shown | None = None,
    pool: Pool | None = None,
) -> Chosen:
    """The scales with the least error, group by group; 1 where none is clearly better.

    The candidates are those of SmoothQuant (Xiao et al. 2023, section 4, equation 4), with a strength for each group.

    Args:
        graph: the network.
        scaling: its trace.
        extents: of the tensors that are kept in int8.
        batches: samples that the candidates are tried on; best others than the extents are of.
        known: what `trial.shown` gives for them, where it is there already.
        pool: of layers.
    """
    measures = measured(graph, scaling, extents)
    found = groups(graph, scaling)
    pool = pool or Pool()
    trial = Trial(graph, scaling, extents, shown(graph, batches, found, pool) if known is None else known, pool)
    scales, changed = np.ones(scaling.classes), []
    for number, group in enumerate(found):
        level = _level(scaling, extents, group, measures)
        alone = trial.error(group, np.ones(scaling.classes))
        tried = [(trial.error(group, item), item) for item in candidates(group, measures, level)]
        error, best = min(tried, key=lambda pair: pair[0])
        if error < (_GAIN if measures.taken[group.free].any() else 1) * alone:
            scales[group.free] = best[group.free]
            changed.append(number)
    return Chosen(scales, tuple(found), tuple(changed))


def uniform(graph: Graph, scaling: Scaling, extents: Extents, strength: float) -> Chosen:
    """Scales of one strength for all groups; the full one where consumers do not mind."""
    measures = measured(graph, scaling, extents)
    found = groups(graph, scaling)
    scales = np.ones(scaling.classes)
    for group in found:
        own = strength if measures.taken[group.free].any() else STRENGTHS[-1]
        level = _level(scaling, extents, group, measures)
        scales[group.free] = scales_of(group, measures, own, level)[group.free]
    changed = tuple(number for number, group in enumerate(found) if (scales[group.free] != 1).any())
    return Chosen(scales, tuple(found), changed)


def measured(graph: Graph, scaling: Scaling, extents: Extents) -> Measures:
    """What is known of each class from the data."""
    floor = np.zeros(scaling.classes)
    for cap in scaling.caps:
        inside = scaling.classes_of(cap.tensor)
        if cap.tensor in extents:
            reached = scaling.largest(cap.tensor, extents[cap.tensor].high)[inside] / cap.value
        else:
            reached = np.ones(len(inside))  # nobody watched it
        floor[inside] = np.maximum(floor[inside], reached)
    return Measures(amplitudes(scaling, extents), taken(graph, scaling), floor, floor >= _REACHED)


def candidates(group: Group, measures: Measures, level: float) -> Iterable[Scales]:
    """Scales for a group, one for each strength; where consumers do not mind only the full one."""
    strengths = STRENGTHS if measures.taken[group.free].any() else STRENGTHS[-1:]
    return [scales_of(group, measures, strength, level) for strength in strengths]


def scales_of(group: Group, measures: Measures, strength: float, level: float) -> Scales:
    """`amplitude^strength / taken^(1 - strength)`, so that the largest activation is then `level` (0: as it was)."""
    scales = np.ones(len(measures.amplitude))
    moving = group.free[(measures.amplitude[group.free] > 0) & ~measures.stuck[group.free]]
    if not len(moving):
        return scales
    amplitude = measures.amplitude[moving]
    chosen = _relative(amplitude) ** strength / _relative(measures.taken[moving]) ** (1 - strength)
    chosen *= (amplitude / chosen).max() / (level or amplitude.max())
    scales[moving] = np.maximum(chosen, measures.floor[moving])
    dead = group.free[measures.amplitude[group.free] == 0]
    scales[dead] = _quiet(measures.taken[dead], (measures.taken[moving] * scales[moving]).max())
    return scales


def _relative(values: Scales) -> Scales:
    largest = values.max()
    return np.maximum(values / largest, _RANGE) if largest else np.ones_like(values)


def _quiet(weights: Scales, largest: float) -> Scales:
    """Scales of dead channels: 1, or less where their weights, of no use, would outgrow those of all others."""
    return np.minimum(1.0, np.divide(largest, weights, out=np.ones_like(weights), where=weights > 0))


def _level(scaling: Scaling, extents: Extents, group: Group, measures: Measures) -> float:
    """The largest activation of those channels in the group's tensors that keep their scale; 0 where all may change."""
    staying = np.append(measures.stuck, True)
    staying[list(scaling.pinned)] = True
    level = 0.0
    for tensor in group.tensors:
        axis = scaling.scaled_axis(tensor)
        vector = None if axis is None else scaling.axes[tensor][axis]
        if tensor in extents and vector is not None:
            level = max(level, float(extents[tensor].largest[staying[vector]].max(initial=0.0)))
    return level


def spread(scaling: Scaling, extents: Extents, chosen: Chosen, scales: Scales) -> float:
    """How far channels lie apart: the largest by the tenth percentile, as geometric mean over the changed groups."""
    ratios = []
    for number in chosen.changed:
        free = chosen.groups[number].free
        values = amplitudes(scaling, extents)[free] / scales[free]
        alive = values[values > 0]
        ratios.append(np.log(alive.max() / np.percentile(alive, 10)) if len(alive) else 0.0)
    return float(np.exp(np.mean(ratios))) if ratios else 1.0
