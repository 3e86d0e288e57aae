"""How long single layers take on LiteRT's kernels of this machine.

Layers are visited in rounds, each with an interpreter of its own that is gone before the next: what disturbs the
machine for a while then falls on all layers alike, memory holds one layer at a time, and no layer's threads are awake
while another is timed. Each round has another order, since where a layer's tensors come to lie in memory, and with that
its time, depends on what was there before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebuild.actions.compression import LayerTimes, LayerTimesJob
from edgebuild.child import Say, paced
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.target import Kernels
from edgebuild.flatbuffer.rewriting.timed_parts import artifact_of_layer
from edgebuild.runtimes.interpreters import fill_randomly, load, refusals, times_s
from edgebuild.stats import median

_ROUNDS = 6
# The first run of an interpreter packs and touches what later ones find ready.
_WARMUP_RUNS = 2
_FEWEST_RUNS = 3
_MOST_RUNS = 2000
_RESOLUTION_S = 1e-9
# As good as nothing to compute: what remains is the price of asking.
_NOTHING = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=1, out_channels=1)


def layer_times(job: LayerTimesJob, say: Say) -> LayerTimes:
    """Time every layer alone, on fixed random weights and inputs.

    A visit's figure is the median of its runs, a layer's the smallest of its visits: others on the machine only ever
    add to a time, so the quietest visit is nearest to the layer's own.

    Raises:
        StepError: the interpreter refused a layer.
    """
    visits = _visits(job, list(dict.fromkeys((_NOTHING, *job.layers))), say)
    quietest = {layer: min(medians) for layer, medians in visits.items()}
    invocation_s = quietest[_NOTHING]
    return LayerTimes(
        times_s=tuple(_rounded_s(quietest[layer] - invocation_s) for layer in job.layers),
        invocation_s=_rounded_s(invocation_s),
    )


def _visits(job: LayerTimesJob, layers: Sequence[LayerShape], say: Say) -> dict[LayerShape, list[float]]:
    """The median of each visit to each layer, in seconds; a layer that has had its time is visited no more."""
    medians: dict[LayerShape, list[float]] = {layer: [] for layer in layers}
    left_s = dict.fromkeys(medians, job.layer_s)
    tell = paced(say)
    rng = np.random.default_rng(0)
    for number in range(_ROUNDS):
        for place, index in enumerate(rng.permutation(len(layers))):
            layer = layers[index]
            if left_s[layer] > 0:
                samples = _visit(layer, job.kernels, job.threads, job.layer_s / _ROUNDS)
                medians[layer].append(median(samples))
                left_s[layer] -= sum(samples)
            tell(f"layer {place + 1} of {len(layers)}, round {number + 1} of {_ROUNDS}")
    return medians


def _visit(layer: LayerShape, kernels: Kernels, threads: int, budget_s: float) -> list[float]:
    interpreter = load(artifact_of_layer(layer), layer.label, kernels, threads)
    fill_randomly(interpreter)
    with refusals(layer.label, kernels):
        times_s(interpreter, most=_WARMUP_RUNS, fewest=1, budget_s=budget_s)
        return times_s(interpreter, most=_MOST_RUNS, fewest=_FEWEST_RUNS, budget_s=budget_s)


def _rounded_s(seconds: float) -> float:
    return max(_RESOLUTION_S, round(seconds, 9))
