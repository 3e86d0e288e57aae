"""Calibration on samples: ranges of activations, rounding of weights and correction of biases, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import BiasCorrection, Calibrate, Rounding
from edgebuild.data.samples import Samples
from edgebuild.errors import UsageError
from edgebuild.passes import pass_files
from edgebuild.passes.calibration import correcting, points, rounding as rounder, simulation, walking
from edgebuild.passes.calibration.drawing import Drawn
from edgebuild.passes.calibration.grid import Array, Range
from edgebuild.passes.calibration.ranges import Choice, Judge, choose
from edgebuild.passes.calibration.simulation import Fidelity
from edgebuild.passes.calibration.surveying import survey
from edgebuild.passes.graph import files
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.running import Pool
from edgebuild.passes.loading import Network
from edgebuild.passes.pass_files import with_ranges


def run(job: CompressJob, say: Say) -> Compressed:
    """Choose ranges, round weights, correct biases, and write the network with its ranges as a SavedModel.

    Raises:
        UsageError: there are no calibration samples.
        StepError: the network cannot be run layer by layer.
    """
    assert isinstance(job.settings, Calibrate), "the engine sends each pass to its own module"
    settings, graph = job.settings, files.load(Path(job.network))
    say("choosing int8 grids")
    done = calibrate(
        graph,
        pass_files.samples(job),
        settings=settings,
        seed=job.seed,
        floating=job.float_layers,
    )
    return with_ranges(done.network, graph, job, done.notes)


class Calibrated(NamedTuple):
    """A calibrated network.

    Attributes:
        network: what `freeze.freeze` takes: with nodes that carry the ranges through the converter.
        graph: the same without nodes: a float network, with weights on grids where they were rounded.
        ranges: by the numbers of the graph's tensors.
        notes: what was done, for people.
    """

    network: Network
    graph: Graph
    ranges: Mapping[int, Range]
    notes: tuple[str, ...]


def calibrate(
    graph: Graph, samples: Samples, settings: Calibrate, *, seed: int, floating: Sequence[str] = ()
) -> Calibrated:
    """Choose the grids of int8 for a network, and what comes to lie on them.

    Weights and biases are left as they were where that does better on samples held out.

    Args:
        graph: with batch norms folded where they can be.
        samples: the calibration split.
        settings: what is chosen, and how.
        seed: of the samples held out, of those that are looked at closely, and of the projections that weigh errors.
        floating: layers that will not be quantized, by name.

    Raises:
        UsageError: there are no samples.
        StepError: the graph is not consistent.
    """
    if not len(samples):
        raise UsageError("calibration needs samples, and there are none", remedy="Give x_train or x_calibration.")
    plan = points.plan(graph, floating)
    drawn = Drawn(plan, samples, seed)
    pool = Pool()
    seen = survey(plan, drawn, pool)
    judge = Judge(plan, drawn.compared, seen, pool)
    choice = choose(plan, drawn, judge, seen, settings.ranges, seed=seed)
    notes = [_of_ranges(choice)]
    done = plan.graph
    tried = _tried(plan, choice.ranges, drawn.walked.whole(), settings, seed, pool)
    if tried:
        reached = [judge.fidelity(each.graph, choice.ranges) for each in tried]
        best = max(range(len(tried)), key=lambda number: reached[number].score_db)
        is_better = reached[best].score_db >= choice.chosen.score_db
        done = tried[best].graph if is_better else done
        notes.append(_of_weights(tried[best].words, choice.chosen, reached[best]))
        notes[-1] += "" if is_better else ", taken back: most samples do worse"
    if settings.bias == BiasCorrection.ANALYTIC:
        found = correcting.corrected_by_batch_norms(plan.graph, done, plan.floating)
        done = found.graph
        notes.append(f"biases of {found.layers} layers corrected by what batch norms tell of their inputs")
    nodes = {point: chosen for point, chosen in choice.ranges.items() if point in plan.nodes}
    return Calibrated(simulation.network_with_ranges(done, nodes, graph), done, choice.ranges, tuple(notes))


class _Tried(NamedTuple):
    """A network with weights or biases changed, and what was done to them."""

    graph: Graph
    words: str


def _tried(
    plan: points.Plan, ranges: Mapping[int, Range], samples: Sequence[Array], settings: Calibrate, seed: int, pool: Pool
) -> list[_Tried]:
    """What is asked for, and parts of it.

    Biases that bring all means back can cost more on some samples than they gain on others; and so can kernels.
    """
    words = {Rounding.ADAPTIVE: "weights rounded adaptively", Rounding.NEAREST: "largest weights clipped"}
    refits = settings.rounding == Rounding.ADAPTIVE or settings.clip
    adaptive = settings.rounding == Rounding.ADAPTIVE
    fit = partial(rounder.refit, adaptive=adaptive, clip=settings.clip, correct=False, seed=seed)
    ways = {words[settings.rounding]: walking.Way(fit)} if refits else {}
    if settings.bias == BiasCorrection.EMPIRICAL:
        if refits:
            ways[f"{words[settings.rounding]}, biases corrected"] = walking.Way(like=0, corrects=True)
        ways["biases corrected"] = walking.Way(corrects=True)
    if not ways:
        return []
    graphs = walking.walk(plan, ranges, samples, list(ways.values()), pool)
    return [_Tried(graph, said) for graph, said in zip(graphs, ways, strict=True)]


def _of_weights(words: str, before: Fidelity, after: Fidelity) -> str:
    return f"{words}: output SQNR {before.sqnr_db:.1f} -> {after.sqnr_db:.1f} dB (simulated)"


def _of_ranges(choice: Choice) -> str:
    return (
        f"ranges: {choice.narrower} of {len(choice.ranges)} tensors narrower than min-max; output SQNR"
        f" {choice.min_max.sqnr_db:.1f} -> {choice.chosen.sqnr_db:.1f} dB on calibration samples held out (simulated)"
    )
