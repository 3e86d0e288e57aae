"""Where a network spends its time, as LiteRT's own profiler tells it.

The profiler's clock has steps of a microsecond, and its steps are those of the kernels that run: what a delegate took
is assigned to the file's operators by order and name (`profiling.aligning`).

XNNPACK keeps the order of the operators that it takes, but folds some into others (activations, padding) and adds steps
of its own (conversions). Its steps have names of kernels: a convolution of one pixel is a fully connected layer there.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgebuild.actions.measuring import OperatorTimesJob
from edgebuild.child import Say, paced
from edgebuild.core.benched import OperatorTimes
from edgebuild.core.inspection import Graph
from edgebuild.core.measurement import Mode
from edgebuild.errors import UnavailableError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.runtimes.delegation import Node, replaced
from edgebuild.runtimes.interpreters import fill_randomly, load, refusals, times_s
from edgebuild.runtimes.prefix_times import Array, described
from edgebuild.runtimes.profiler import RESOLUTION_S, Profiler, Step, StepKind
from edgebuild.stats import median

_DELEGATE = "DELEGATE"
_ROUNDS, _FEWEST_ROUNDS, _MOST_ROUNDS = 8, 3, 40
_WARMUP_RUNS, _FEWEST_RUNS, _MOST_RUNS = 2, 5, 500
_RESAMPLES = 1000
_TAILS = (2.5, 97.5)
# The steps of the clock may be at most this share of the latency, one for each step of an inference.
_COARSEST = 0.1
_CLOCK = "LiteRT's profiler counts whole microseconds: a step may take up to one more than is shown"
_APPROXIMATE = "delegates name kernels, not operators: which is whose was told by their order and names"
_COPYING = ("Copy", "Slice", "Static", "Transpose", "Fuse Dims", "Split Dims", "Constant Pad")
# What XNNPACK calls the kernels of an operator; an operator that is not here is known by its own name.
_KERNELS: dict[str, tuple[str, ...]] = {
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "TRANSPOSE_CONV": ("Deconvolution",),
    "FULLY_CONNECTED": ("Fully Connected", "Dynamic Fully Connected", "Batch Matrix Multiply"),
    "BATCH_MATMUL": ("Batch Matrix Multiply", "Fully Connected", "Dynamic Fully Connected"),
    "AVERAGE_POOL_2D": ("Average Pooling", "Mean"),
    "MAX_POOL_2D": ("Max Pooling",),
    "MEAN": ("Mean", "Average Pooling"),
    "REDUCE_MAX": ("Reduce Max",),
    "REDUCE_MIN": ("Reduce Min",),
    "SUB": ("Subtract",),
    "MUL": ("Multiply",),
    "DIV": ("Divide",),
    "NEG": ("Negate",),
    "LOGISTIC": ("Sigmoid",),
    "TANH": ("TanH",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "RELU_N1_TO_1": ("Clamp",),
    "RELU_0_TO_1": ("Clamp",),
    "LEAKY_RELU": ("LeakyReLU",),
    "HARD_SWISH": ("HardSwish",),
    "SQRT": ("Square Root",),
    "RSQRT": ("Reciprocal Square Root",),
    "CEIL": ("Ceiling",),
    "QUANTIZE": ("Convert",),
    "DEQUANTIZE": ("Convert",),
    "PAD": ("Constant Pad",),
    "PADV2": ("Constant Pad",),
    "CONCATENATION": ("Copy",),
    "SPLIT": ("Slice", "Copy"),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "TRANSPOSE"), _COPYING),
}
_NAMED = tuple({name for names in _KERNELS.values() for name in names})
_DEPTHWISE = "DWConv"
_FIT, _UNKNOWN_FIT = 2, 1


def profile(job: OperatorTimesJob, say: Say) -> OperatorTimes:
    """Time every operator of an artifact's first graph with LiteRT's profiler; random inputs, the same each time.

    A round runs the network with the profiler on, and in turn without it on the interpreter, for its latency.

    Raises:
        UnavailableError: LiteRT's profiler cannot be had here, does not run this network, or is too coarse for it.
        StepError: the artifact is damaged, or the interpreter refused it.
    """
    path = Path(job.artifact)
    data = path.read_bytes()
    graph = inspect(data, path.name).graphs[0]
    interpreter = load(job.artifact, path.name, job.kernels, job.threads)
    fill_randomly(interpreter)
    fills = {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_input_details()}
    with refusals(path.name, job.kernels), Profiler(data, job.kernels, job.threads, fills) as profiler:
        first = profiler.run()
        owners = _owners(first.steps, interpreter)
        whole_s = times_s(interpreter, most=_FEWEST_RUNS, fewest=_FEWEST_RUNS, budget_s=0)
        if len(first.steps) * RESOLUTION_S > _COARSEST * min(whole_s):
            raise UnavailableError(f"LiteRT's profiler is too coarse for {path.name}: it counts whole microseconds")
        found = _rounds(profiler, interpreter, job, say)
    return _times(graph, first.steps, owners, found, job)


class _Rounds(NamedTuple):
    """Seconds by round: the mean of each step [rounds, steps], and the latency without the profiler [rounds]."""

    steps: Array
    whole: Array
    runs: int


def _rounds(profiler: Profiler, interpreter: Any, job: OperatorTimesJob, say: Say) -> _Rounds:
    tell = paced(say)
    started = time.monotonic()
    budget_s = job.time_s / _ROUNDS / 2
    steps: list[Array] = []
    whole: list[float] = []
    runs = 0
    while len(steps) < _FEWEST_ROUNDS or (len(steps) < _MOST_ROUNDS and time.monotonic() - started < job.time_s):
        block = _block(profiler, budget_s)
        # The mean, not the median: of whole microseconds only a mean can lie between them.
        steps.append(_middle(np.array(block)))
        times_s(interpreter, most=_WARMUP_RUNS, fewest=1, budget_s=budget_s)
        whole.append(median(times_s(interpreter, most=_MOST_RUNS, fewest=_FEWEST_RUNS, budget_s=budget_s)))
        runs += len(block)
        tell(f"round {len(steps)}")
    return _Rounds(np.stack(steps), np.array(whole), runs)


def _block(profiler: Profiler, budget_s: float) -> list[tuple[float, ...]]:
    for _ in range(_WARMUP_RUNS):
        profiler.run()
    started = time.perf_counter()
    block: list[tuple[float, ...]] = []
    while len(block) < _FEWEST_RUNS or (len(block) < _MOST_RUNS and time.perf_counter() - started < budget_s):
        block.append(profiler.run().times_s)
    return block


def _middle(block: Array) -> Array:
    """The mean of the middle half of the runs of each step."""
    ordered = np.sort(block, axis=0)
    cut = len(block) // 4
    return np.asarray(ordered[cut : len(block) - cut].mean(axis=0))


def _owners(steps: Sequence[Step], interpreter: Any) -> tuple[int | None, ...]:
    """For each step the position of the file's operator that it computes, or None for work of the runtime's own.

    Raises:
        UnavailableError: the profiled runtime divides the network otherwise than the interpreter.
    """
    operators, parts = _nodes(interpreter)
    taken = replaced(operators, parts)
    own = [step.node for step in steps if step.kind == StepKind.OPERATOR]
    runs = list(_partitions(steps))
    if not taken.isdisjoint(own) or len(runs) != len(parts):
        raise UnavailableError("LiteRT's profiler divides the network otherwise than its interpreter")
    owners: dict[int, int | None] = {number: step.node for number, step in enumerate(steps)}
    for part, numbers in zip(parts, runs, strict=True):
        positions = sorted(replaced(operators, [part]))
        names = [operators[position].name for position in positions]
        for number, place in zip(numbers, aligned(names, [steps[number].name for number in numbers]), strict=True):
            owners[number] = None if place is None else positions[place]
    return tuple(owners[number] for number in range(len(steps)))


def _nodes(interpreter: Any) -> tuple[list[Node], list[Node]]:
    """The file's operators, and behind them the parts that a delegate took."""
    # The wheel has no public list of nodes; this one is what its own tools read.
    nodes = [
        Node(
            item["op_name"], *(tuple(int(index) for index in item[end] if index >= 0) for end in ("inputs", "outputs"))
        )
        for item in interpreter._get_ops_details()
    ]
    return [node for node in nodes if node.name != _DELEGATE], [node for node in nodes if node.name == _DELEGATE]


def _partitions(steps: Sequence[Step]) -> Iterator[list[int]]:
    """The steps of each part that a delegate took, by number; its own nodes are counted from zero."""
    found: list[list[int]] = []
    for number, step in enumerate(steps):
        if step.kind == StepKind.OPERATOR:
            continue
        if step.node == 0 or not found:
            found.append([])
        found[-1].append(number)
    yield from found


def _times(
    graph: Graph, steps: Sequence[Step], owners: Sequence[int | None], found: _Rounds, job: OperatorTimesJob
) -> OperatorTimes:
    values, low, high = _with_intervals(found.steps)
    whole_s = float(np.median(found.whole))
    operators = [
        described(
            graph,
            () if owner is None else (owner,),
            float(values[number]),
            (float(low[number]), float(high[number])),
            step.name if step.kind != StepKind.OPERATOR else "",
        )
        for number, (step, owner) in enumerate(zip(steps, owners, strict=True))
    ]
    missing = set(range(len(graph.operations))) - set(owners)
    notes = [_CLOCK]
    if any(step.kind != StepKind.OPERATOR for step in steps):
        notes.append(_APPROXIMATE)
    if missing:
        named = ", ".join(f"{position} {graph.operations[position].name}" for position in sorted(missing)[:6])
        notes.append(f"part of other operators, or computed once: {named}{', ...' if len(missing) > 6 else ''}")
    return OperatorTimes(
        mode=Mode.MEASURED,
        source=f"the profiler of LiteRT {importlib.metadata.version('ai-edge-litert')}",
        kernels=str(job.kernels),
        threads=job.threads,
        whole_s=round(whole_s, 9),
        beside_s=round(max(0.0, whole_s - float(values.sum())), 9),
        operators=tuple(operators),
        runs=found.runs,
        notes=tuple(notes),
    )


def _with_intervals(rounds: Array) -> tuple[Array, Array, Array]:
    """The median of the rounds with the 95 % interval of the percentile bootstrap over them.

    The clock rounds down, so that the upper end is a step of it higher (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, section 13.3).
    """
    drawn = np.random.default_rng(0).integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    low, high = np.percentile(np.median(rounds[drawn], axis=1), _TAILS, axis=0)
    return np.median(rounds, axis=0), low, high + RESOLUTION_S


def aligned(operators: Sequence[str], kernels: Sequence[str]) -> tuple[int | None, ...]:
    """For each kernel that ran the place of the operator that it computes, or None for work of the runtime's own.

    It is the assignment in order that explains most: a longest common subsequence (Needleman & Wunsch, A General Method
    Applicable to the Search for Similarities, 1970) in which kernels that are known for an operator count more.
    A kernel that several operators could stand for goes to the first.

    Args:
        operators: their BuiltinOperator names, in the order of execution.
        kernels: XNNPACK's names, "Convolution (NHWC, QC8) DWConv", in the order in which they ran.
    """
    best = [[0] * (len(kernels) + 1) for _ in range(len(operators) + 1)]
    for place in reversed(range(len(operators))):
        for number in reversed(range(len(kernels))):
            best[place][number] = max(
                best[place + 1][number],
                best[place][number + 1],
                best[place + 1][number + 1] + _fit(operators[place], kernels[number]),
            )
    found: list[int | None] = []
    place = number = 0
    while number < len(kernels):
        fit = _fit(operators[place], kernels[number]) if place < len(operators) else 0
        if fit and best[place][number] == best[place + 1][number + 1] + fit:
            found.append(place)
            place, number = place + 1, number + 1
        elif place < len(operators) and best[place][number] == best[place + 1][number]:
            place += 1
        else:
            found.append(None)
            number += 1
    return tuple(found)


def _fit(operator: str, kernel: str) -> int:
    """How well a kernel explains an operator; 0 for not at all."""
    known = _KERNELS.get(operator)
    if known is None:
        spelled = operator.replace("_", " ").lower()
        if kernel.lower().startswith(spelled):
            return _FIT
        # One that no operator is known to run on may be of any operator that is not known either.
        return 0 if kernel.startswith(_NAMED) else _UNKNOWN_FIT
    if not kernel.startswith(known):
        return 0
    return _FIT + ((_DEPTHWISE in kernel) == operator.startswith("DEPTHWISE"))
