"""Where a network spends its time, derived by timing its prefixes.

Runtimes time whole inferences. What the operators of a network take is read off the times of ever longer beginnings of
it: each operator takes what the prefix that ends with it takes more than the one before. Prefixes are visited in
rounds, each with an interpreter of its own, in another order each time, as in `layer_times`.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebuild.actions.measuring import OperatorTimesJob
from edgebuild.child import Say, paced
from edgebuild.core.benched import OperatorTime, OperatorTimes
from edgebuild.core.comparison import Interval
from edgebuild.core.inspection import Graph
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.measurement import Mode
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting.timed_parts import artifact_of_layer, folded, prefix
from edgebuild.runtimes.interpreters import fill_randomly, load, refusals, times_s
from edgebuild.stats import median
from edgebuild.units import format_seconds, format_share

SOURCE = "derived by timing prefixes of the network"
_ROUNDS, _FEWEST_ROUNDS, _MOST_ROUNDS = 8, 3, 40
_WARMUP_RUNS, _FEWEST_RUNS, _MOST_RUNS = 2, 3, 2000
_RESOLUTION_DIGITS = 9
# Beyond this share of the whole the sum of all parts is said to be off.
_MUCH = 0.1
# As good as nothing to compute: what remains is the price of asking.
_NOTHING = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=1, out_channels=1)
_CUT = "a cut keeps an output alive and ends what kernels fuse across it: operators' times are good to some percent"

Visit = Callable[[int, float], Sequence[float]]
Array = npt.NDArray[Any]
_RESAMPLES = 1000
_TAILS = (2.5, 97.5)


def prefix_times(job: OperatorTimesJob, say: Say) -> OperatorTimes:
    """Time every operator of an artifact's first graph; random inputs, the same each time.

    Raises:
        StepError: the artifact is damaged, has no operators, cannot be cut, or is refused by the interpreter.
    """
    path = Path(job.artifact)
    data = path.read_bytes()
    graph = inspect(data, path.name).graphs[0]
    if not graph.operations:
        raise StepError(f"{path.name} has no operators to time")
    parts = divided(graph, frozenset(folded(data)), job.most_operators)
    with tempfile.TemporaryDirectory(prefix="edgebuild-") as folder:
        # On disk, since together they are larger than the network by far.
        files = [_written(Path(folder) / "nothing.tflite", artifact_of_layer(_NOTHING))]
        files += [_written(Path(folder) / f"{part[-1]}.tflite", prefix(data, part[-1] + 1)) for part in parts]
        visits = timed(_Visitor([*files, path], path.name, job), len(files) + 1, job.time_s, say)
    return derived(graph, parts, visits, job)


def divided(graph: Graph, joined: frozenset[int], most: int) -> list[tuple[int, ...]]:
    """The operators of a graph, by position, as parts of which each is timed as one.

    An operator of `joined` goes with the next that is not. Where there are more than `most`, the neighbours that have
    least to do are joined, so that large operators stay alone.
    """
    parts: list[tuple[int, ...]] = []
    pending: tuple[int, ...] = ()
    for position in range(len(graph.operations)):
        pending = (*pending, position)
        if position not in joined:
            parts.append(pending)
            pending = ()
    if pending:
        parts = [*parts[:-1], (*(parts[-1] if parts else ()), *pending)]
    weights = [sum(_work(graph, position) for position in part) for part in parts]
    while len(parts) > most:
        first = min(range(len(parts) - 1), key=lambda place: weights[place] + weights[place + 1])
        parts[first : first + 2] = [(*parts[first], *parts[first + 1])]
        weights[first : first + 2] = [weights[first] + weights[first + 1]]
    return parts


def timed(visit: Visit, count: int, time_s: float, say: Say) -> Array:
    """The median time of each visit, [rounds, count] in seconds.

    Args:
        visit: runs what has that number for about so many seconds, and gives the seconds of single runs.
        count: how many there are to visit.
        time_s: no round starts later than that, once there are a few.
        say: is told of the progress.
    """
    rng = np.random.default_rng(0)
    tell = paced(say)
    started = time.monotonic()
    rounds: list[list[float]] = []
    while len(rounds) < _FEWEST_ROUNDS or (len(rounds) < _MOST_ROUNDS and time.monotonic() - started < time_s):
        medians = [0.0] * count
        for place, number in enumerate(rng.permutation(count).tolist()):
            medians[number] = median(visit(number, time_s / (_ROUNDS * count)))
            tell(f"prefix {place + 1} of {count}, round {len(rounds) + 1}")
        rounds.append(medians)
    return np.array(rounds)


def derived(graph: Graph, parts: Sequence[tuple[int, ...]], visits: Array, job: OperatorTimesJob) -> OperatorTimes:
    """The times of a graph's parts.

    Args:
        graph: the one that was cut.
        parts: its operators as they were timed, in order.
        visits: [rounds, 2 + parts] in seconds: nothing at all, the prefix up to each part, and the network as it is.
        job: what was asked for.
    """
    found = increments(visits[:, :-1])
    whole_s = float(visits[:, -1].min())
    last_s = float(visits[:, -2].min())
    sum_s = sum(found.values)
    return OperatorTimes(
        mode=Mode.ESTIMATED,
        source=SOURCE,
        kernels=str(job.kernels),
        threads=job.threads,
        whole_s=round(whole_s, _RESOLUTION_DIGITS),
        beside_s=round(max(0.0, last_s - sum_s), _RESOLUTION_DIGITS),
        operators=tuple(
            described(graph, part, value, interval)
            for part, value, interval in zip(parts, found.values, found.intervals, strict=True)
        ),
        runs=len(visits) * _FEWEST_RUNS,
        notes=tuple(_notes(last_s, whole_s, job.kernels)),
    )


def described(
    graph: Graph, positions: tuple[int, ...], value_s: float, interval_s: tuple[float, float], kernel: str = ""
) -> OperatorTime:
    """The time of some operators of a graph, with what they are."""
    operations = [graph.operations[position] for position in positions]
    written = [graph.tensors[index] for operation in operations for index in operation.outputs[:1] if index >= 0]
    last = written[-1] if written else None
    return OperatorTime(
        positions=positions,
        names=tuple(operation.name for operation in operations),
        tensor=last.name if last else "",
        shape=last.shape if last else (),
        dtype=last.dtype if last else "",
        macs=sum(operation.macs for operation in operations),
        kernel=kernel,
        time_s=round(value_s, _RESOLUTION_DIGITS),
        interval_s=(round(interval_s[0], _RESOLUTION_DIGITS), round(interval_s[1], _RESOLUTION_DIGITS)),
    )


def _notes(last_s: float, whole_s: float, kernels: Kernels) -> list[str]:
    notes = [_CUT] if kernels == Kernels.XNNPACK else []
    off = last_s / whole_s - 1
    if abs(off) > _MUCH:
        more = "more" if off > 0 else "less"
        notes.append(
            f"the parts add up to {format_share(abs(off))} {more} than the network's {format_seconds(whole_s)}: "
            "the machine was busy, measure again"
        )
    return notes


@dataclasses.dataclass(frozen=True, slots=True)
class _Visitor:
    """Runs files, each time with an interpreter of its own."""

    files: list[Path]
    name: str
    job: OperatorTimesJob

    def __call__(self, number: int, budget_s: float) -> list[float]:
        interpreter = load(str(self.files[number]), self.name, self.job.kernels, self.job.threads)
        fill_randomly(interpreter)
        with refusals(self.name, self.job.kernels):
            times_s(interpreter, most=_WARMUP_RUNS, fewest=1, budget_s=budget_s)
            return times_s(interpreter, most=_MOST_RUNS, fewest=_FEWEST_RUNS, budget_s=budget_s)


def _work(graph: Graph, position: int) -> int:
    """How much an operator has to do, as far as that can be told from shapes."""
    operation = graph.operations[position]
    return operation.macs + sum(graph.tensors[index].size_bytes for index in operation.outputs if index >= 0)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class Increments(NamedTuple):
    """What each prefix takes more than the one before it, with 95 % intervals, in the unit of the times."""

    values: tuple[float, ...]
    intervals: tuple[Interval, ...]


def increments(visits: Array, seed: int = 0) -> Increments:
    """The differences of the times of growing prefixes, none of them below zero.

    The time of a prefix is that of its quietest visit: others on the machine only ever add to a time. Where noise makes
    a longer prefix faster than a shorter one, the nearest rising sequence is taken instead (`isotonic`); the
    differences add up to last minus first of it. Intervals are the range of 95 % of what half of the rounds, drawn
    without replacement, give: the bootstrap of as many as there are fails for a minimum (Politis & Romano, Large Sample
    Confidence Regions Based on Subsamples, 1994, section 2). Rounds are drawn whole, since what disturbs the machine
    disturbs neighbours in a round alike.

    Args:
        visits: [rounds, prefixes], from short to long; at least two prefixes and one round.
        seed: of the resampling.

    Returns:
        One less than there are prefixes.
    """
    rng = np.random.default_rng(seed)
    half = max(1, len(visits) // 2)
    resampled = np.stack([_differences(rng.permutation(visits)[:half]) for _ in range(_RESAMPLES)])
    lower, upper = np.percentile(resampled, _TAILS, axis=0)
    values = _differences(visits)
    # Half of few rounds may always lie on one side of the figure itself.
    lower, upper = np.minimum(lower, values), np.maximum(upper, values)
    return Increments(
        tuple(map(float, values)), tuple((float(low), float(high)) for low, high in zip(lower, upper, strict=True))
    )


def isotonic(values: Sequence[float]) -> list[float]:
    """The sequence that never falls and is nearest to the given one in least squares.

    Pool adjacent violators (Barlow, Bartholomew, Bremner & Brunk, Statistical Inference under Order Restrictions, 1972,
    section 1.2): neighbours that fall are replaced by their mean, until none falls.
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _differences(visits: Array) -> Array:
    return np.diff(isotonic(visits.min(axis=0).tolist()))
