from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sessions
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, strategies as st

from edgebuild.actions.measuring import OperatorTimesJob
from edgebuild.core.benched import OperatorTime, OperatorTimes
from edgebuild.core.inspection import Graph
from edgebuild.core.measurement import Mode
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.pipeline import places
from edgebuild.pipeline.demands import Runnable
from edgebuild.process import Child, Limits
from edgebuild.report.bench import of_operators
from edgebuild.runtimes import interpreters, prefix_times
from edgebuild.runtimes.operator_profile import aligned
from edgebuild.runtimes.prefix_times import derived, divided, increments, isotonic, timed
from tests.conftest import PATIENCE_S
from tests.unit import making
from tests.unit.tflite_networks import Network

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=3 * 10**9)
TRUE_US = [3.0, 40.0, 0.5, 7.0, 120.0, 0.0, 15.0]

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(numbers)
def test_the_isotonic_sequence_never_falls_and_keeps_the_sum(values: list[float]) -> None:
    fitted = isotonic(values)
    assert len(fitted) == len(values)
    assert all(before <= after + 1e-6 for before, after in itertools.pairwise(fitted))
    assert math.isclose(sum(fitted), sum(values), abs_tol=1e-3)


@given(numbers, st.integers(0, 2**32 - 1))
def test_no_other_rising_sequence_is_nearer(values: list[float], seed: int) -> None:
    fitted = np.array(isotonic(values))
    other = np.sort(fitted + np.random.default_rng(seed).normal(0, 1 + np.ptp(values), len(values)))
    assert np.square(fitted - values).sum() <= np.square(other - values).sum() + 1e-3


def test_falling_neighbours_become_their_mean() -> None:
    assert isotonic([1, 4, 2, 3, 9, 8]) == [1, 3, 3, 3, 8.5, 8.5]


def _noisy(rounds: int, seed: int) -> Any:
    """Visits to the prefixes of a network of TRUE_US, most of them disturbed by others on the machine."""
    rng = np.random.default_rng(seed)
    prefixes = np.cumsum([1.0, *TRUE_US]) * 1e-6
    visits = prefixes + rng.exponential(4e-6, (rounds, len(prefixes))) * (rng.random((rounds, len(prefixes))) < 0.8)
    whole = prefixes[-1:] + rng.exponential(4e-6, (rounds, 1)) * (rng.random((rounds, 1)) < 0.8)
    return np.hstack([visits, whole])


def test_differences_find_what_each_part_takes_and_add_up() -> None:
    visits = _noisy(40, seed=1)[:, :-1]
    found = increments(visits)
    np.testing.assert_allclose(found.values, np.array(TRUE_US) * 1e-6, atol=0.3e-6)
    assert sum(found.values) == pytest.approx(visits.min(axis=0)[-1] - visits.min(axis=0)[0])


def test_intervals_hold_the_figure_and_mostly_the_truth() -> None:
    holding = []
    for seed in range(20):
        found = increments(_noisy(8, seed)[:, :-1])
        for value, (low, high), true_us in zip(found.values, found.intervals, TRUE_US, strict=True):
            assert 0 <= low <= value <= high
            holding.append(low - 1e-12 <= true_us * 1e-6 <= high + 1e-12)
    assert np.mean(holding) > 0.85


def test_no_part_takes_less_than_nothing() -> None:
    visits = np.array([[1.0, 9.0, 5.0, 6.0], [2.0, 8.0, 7.0, 6.0]])
    assert increments(visits).values == (pytest.approx(16 / 3), 0, 0)


def test_rounds_visit_everything_in_ever_another_order() -> None:
    seen: list[int] = []

    def visit(number: int, time_s: float) -> Sequence[float]:
        seen.append(number)
        return [number + 0.5, number, number + 9]

    visits = timed(visit, 12, 1e-9, lambda _: None)
    assert visits.tolist() == [[number + 0.5 for number in range(12)]] * 3
    rounds = [seen[start : start + 12] for start in range(0, 36, 12)]
    assert all(sorted(order) == list(range(12)) for order in rounds)
    assert len({tuple(order) for order in rounds}) == 3


def test_rounds_go_on_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    spent_s = 0.0

    def visit(_: int, time_s: float) -> list[float]:
        nonlocal spent_s
        spent_s += time_s
        return [1.0]

    monkeypatch.setattr(prefix_times.time, "monotonic", lambda: spent_s)
    assert len(timed(visit, 2, 0.05, lambda _: None)) > 3


def _dense(*widths: int) -> bytes:
    """Fully connected layers, each of so many outputs."""
    network = Network()
    before = network.tensor("x", [1, widths[0]])
    first = before
    for number, (taken, made) in enumerate(itertools.pairwise(widths)):
        values = np.random.default_rng(number).random(taken * made, np.float32).view(np.uint8)
        weights = network.tensor(f"weights{number}", [made, taken], constant=True, data=values)
        after = network.tensor(f"dense{number}", [1, made])
        network.operator(
            schema.BuiltinOperator.FULLY_CONNECTED,
            [before, weights, -1],
            [after],
            options=schema.FullyConnectedOptionsT(),
        )
        before = after
    return network.packed([first], [before])


def _graph(*widths: int) -> Graph:
    return inspect(_dense(*widths), "a network").graphs[0]


JOB = OperatorTimesJob(artifact="a.tflite", kernels=Kernels.XNNPACK)


def test_the_times_of_the_parts_and_what_is_beside_them_are_the_whole() -> None:
    graph = _graph(*range(4, 5 + len(TRUE_US)))
    parts = [(position,) for position in range(len(TRUE_US))]
    visits = _noisy(40, seed=2)
    times = derived(graph, parts, visits, JOB)
    assert times.mode == Mode.ESTIMATED
    assert "prefixes" in times.source
    assert times.sum_s + times.beside_s == pytest.approx(times.whole_s, rel=0.01)
    assert [operator.macs for operator in times.operators] == [operation.macs for operation in graph.operations]
    assert times.operators[2].shape == (1, 7)
    assert not any("add up" in note for note in times.notes)


def test_parts_that_do_not_add_up_to_the_whole_are_said_to_be_off() -> None:
    visits = np.array([[1.0, 2.0, 3.0, 2.0]] * 3) * 1e-3
    times = derived(_graph(4, 4, 4), [(0,), (1,)], visits, JOB)
    assert any("50.0 % more than the network's 2 ms" in note for note in times.notes)


def test_small_operators_are_joined_and_large_ones_stay_alone() -> None:
    graph = _graph(4, 4, 4, 64, 64, 4, 4, 4)
    assert divided(graph, frozenset(), 99) == [(position,) for position in range(7)]
    parts = divided(graph, frozenset(), 3)
    assert len(parts) == 3
    assert (3,) in parts
    assert [position for part in parts for position in part] == list(range(7))


def test_what_is_computed_once_goes_with_the_operator_that_follows() -> None:
    assert divided(_graph(4, 4, 4, 4, 4), frozenset({0, 1, 3}), 99) == [(0, 1, 2, 3)]
    assert divided(_graph(4, 4, 4, 4, 4), frozenset({2}), 99) == [(0,), (1,), (2, 3)]


@pytest.mark.parametrize(
    ("operators", "kernels", "owners"),
    [
        (["CONV_2D", "RELU", "ADD"], ["Convolution (NHWC, F32) IGEMM", "Add (ND)"], (0, 2)),
        (["PAD", "CONV_2D", "DEPTHWISE_CONV_2D"], ["Convolution (NHWC) IGEMM", "Convolution (NHWC) DWConv"], (1, 2)),
        (["CONV_2D", "DEPTHWISE_CONV_2D"], ["Convolution (NHWC) DWConv"], (1,)),
        (["CONV_2D"], ["Convert (NC, F32, QD8)", "Fully Connected (NC, QD8, F32, QC8W) GEMM"], (None, 0)),
        (["CONV_2D", "CONV_2D"], ["Fully Connected (NC)"], (0,)),
        (["RESHAPE", "FULLY_CONNECTED"], ["Static Reshape (NC)", "Static Reshape (NC)", "Fully Connected (NC)"], None),
        (["SOFTMAX", "SQUARED_DIFFERENCE"], ["Softmax (NC, F32)", "Squared Difference (ND)"], (0, 1)),
        ([], ["Copy (NC, X8)"], (None,)),
    ],
)
def test_kernels_are_assigned_to_operators_by_order_and_name(
    operators: list[str], kernels: list[str], owners: tuple[int | None, ...] | None
) -> None:
    found = aligned(operators, kernels)
    if owners is None:
        assert found[2] == 1
        assert sorted(map(str, found[:2])) == ["0", "None"]
    else:
        assert found == owners


def _slow_enough(make: Callable[[int], bytes], path: Path, kernels: Kernels = Kernels.XNNPACK) -> Path:
    """A network that grew until the profiler's clock is fine enough for it on this machine, however fast that is."""
    for size in (2**power for power in range(5, 14)):
        path.write_bytes(make(size))
        interpreter = interpreters.load(str(path), path.name, kernels, 1)
        interpreter.invoke()
        if min(interpreters.times_s(interpreter, most=5, fewest=5, budget_s=0)) > 2e-3:
            return path
    raise AssertionError("the largest network is too fast for this test")


def _times(job: OperatorTimesJob, tmp_path: Path) -> OperatorTimes:
    with Child("edgebuild.execution.serving", "the interpreter", tmp_path / "log") as child:
        return msgspec.json.decode(child.call("operator-times", job, LIMITS, lambda _: None), type=OperatorTimes)


@pytest.mark.parametrize("profiler", [True, False])
def test_the_layer_that_does_nearly_everything_takes_longest(profiler: bool, tmp_path: Path) -> None:
    path = _slow_enough(lambda width: _dense(8, width, width, 8), tmp_path / "one_large.tflite")
    width = inspect(path.read_bytes(), path.name).graphs[0].operations[1].macs ** 0.5
    job = OperatorTimesJob(artifact=str(path), kernels=Kernels.XNNPACK, time_s=0.3, profiler=profiler)
    times = _times(job, tmp_path)
    assert times.mode == (Mode.MEASURED if profiler else Mode.ESTIMATED)
    longest = max(times.operators, key=lambda operator: operator.time_s)
    assert longest.positions == (1,)
    assert longest.macs == width**2 >= 32**2
    assert longest.time_s > 0.5 * times.sum_s
    table = of_operators(times).splitlines()
    assert table[2].split()[:2] == ["1", "FULLY_CONNECTED"]


def test_the_profiler_tells_every_operator_of_a_network_with_branches_apart(assets: Path, tmp_path: Path) -> None:
    path = assets / "edgetpu" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    times = _times(OperatorTimesJob(artifact=str(path), kernels=Kernels.XNNPACK, time_s=0.01), tmp_path)
    assert times.mode == Mode.MEASURED
    positions = sorted(position for operator in times.operators for position in operator.positions)
    assert positions == list(range(72))
    assert all(operator.kernel for operator in times.operators if operator.names == ("DEPTHWISE_CONV_2D",))


def test_builtin_kernels_are_profiled_by_the_files_own_operators(tmp_path: Path) -> None:
    path = _slow_enough(lambda width: _dense(*[width] * 5), tmp_path / "chain.tflite", Kernels.BUILTIN)
    times = _times(OperatorTimesJob(artifact=str(path), kernels=Kernels.BUILTIN, time_s=0.1), tmp_path)
    assert times.mode == Mode.MEASURED
    assert [operator.positions for operator in times.operators] == [(position,) for position in range(4)]


@pytest.mark.parametrize(
    ("name", "kernels", "reason"),
    [
        ("edgetpu/keras_lstm_mnist_ptq.tflite", Kernels.XNNPACK, "profiler could not be used"),
        ("kws/reference_int8.tflite", Kernels.REFERENCE, "profiler does not run reference kernels"),
    ],
)
def test_where_the_profiler_cannot_be_used_prefixes_are_timed_and_the_reason_is_said(
    name: str, kernels: Kernels, reason: str, assets: Path, tmp_path: Path
) -> None:
    times = _times(OperatorTimesJob(artifact=str(assets / name), kernels=kernels, time_s=0.01), tmp_path)
    assert times.mode == Mode.ESTIMATED
    assert any(reason in note for note in times.notes)
    assert (
        times.operators[-1].positions[-1] == len(inspect((assets / name).read_bytes(), name).graphs[0].operations) - 1
    )


def test_a_file_that_the_interpreter_refuses_is_a_failed_step(assets: Path, tmp_path: Path) -> None:
    path = assets / "tflm" / "person_detect.tflite"
    with pytest.raises(StepError, match=r"LiteRT does not run person_detect\.tflite"):
        _times(OperatorTimesJob(artifact=str(path), kernels=Kernels.XNNPACK, time_s=0.01), tmp_path)


def test_a_network_that_is_done_in_a_few_steps_of_the_clock_is_not_profiled(tmp_path: Path) -> None:
    """Of so many tiny layers each would have to take ten microseconds to be told from the clock's steps."""
    path = tmp_path / "small.tflite"
    path.write_bytes(_dense(*[4] * 60))
    times = _times(OperatorTimesJob(artifact=str(path), kernels=Kernels.XNNPACK, time_s=0.01), tmp_path)
    assert times.mode == Mode.ESTIMATED
    assert any("too coarse for small.tflite" in note for note in times.notes)


def test_a_network_of_two_inputs_is_profiled(tmp_path: Path) -> None:
    def of_two(size: int) -> bytes:
        network = Network()
        first, second, total = (network.tensor(name, [1, size, size]) for name in ("first", "second", "total"))
        small = network.tensor("small", [1, size, size])
        network.operator(schema.BuiltinOperator.ADD, [first, second], [total], options=schema.AddOptionsT())
        network.operator(schema.BuiltinOperator.LOGISTIC, [total], [small])
        return network.packed([first, second], [small])

    path = _slow_enough(of_two, tmp_path / "two.tflite")
    times = _times(OperatorTimesJob(artifact=str(path), kernels=Kernels.XNNPACK, time_s=0.01), tmp_path)
    assert times.mode == Mode.MEASURED
    assert [operator.names for operator in times.operators] == [("ADD",), ("LOGISTIC",)]


def test_where_the_profiler_ends_its_process_the_times_are_had_without_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(_dense(4, 4))
    with sessions.of_table(tmp_path, "tests.unit.operator_children") as session:
        times = places.operator_times(Runnable(path, Kernels.XNNPACK), making.SETTINGS.bench, session)
    assert times.source == "prefixes"
    assert times.notes[0] == "first"
    assert "with LiteRT's profiler the interpreter crashed (signal SIGABRT)" in times.notes[1]


def _operator(position: int, name: str, time_s: float, **fields: Any) -> OperatorTime:
    spec = {"shape": (1, 8), "dtype": "int8", "macs": 512, "interval_s": (0.9 * time_s, 1.1 * time_s)}
    return OperatorTime(positions=(position,), names=(name,), time_s=time_s, **{**spec, **fields})


TIMES = OperatorTimes(
    mode=Mode.MEASURED,
    source="the profiler",
    kernels="xnnpack",
    threads=1,
    whole_s=5e-4,
    beside_s=1e-4,
    operators=(
        _operator(0, "CONV_2D", 1e-4, kernel="Convolution"),
        _operator(1, "ADD", 5e-5, macs=0),
        _operator(2, "CONV_2D", 2.5e-4, shape=(-1, 4, 8)),
    ),
    runs=9,
    notes=("said\x1b",),
)


def test_the_table_has_the_longest_first_the_share_of_each_and_the_sums_by_kind() -> None:
    assert of_operators(TIMES).splitlines() == [
        "operators: 0.4 ms of 0.5 ms, beside them 0.1 ms (xnnpack kernels, 1 thread, measured: the profiler)",
        "  #  operator  output      MACs     time      from        to   share  kernel",
        "  2  CONV_2D   int8 ?x4x8   512  0.25 ms  0.225 ms  0.275 ms  62.5 %",
        "  0  CONV_2D   int8 1x8     512   0.1 ms     90 us   0.11 ms  25.0 %  Convolution",
        "  1  ADD       int8 1x8       -    50 us     45 us     55 us  12.5 %",
        "",
        "by kind",
        "  CONV_2D  2  0.35 ms  87.5 %",
        "  ADD      1    50 us  12.5 %",
        "  note  said?",
    ]


def test_the_table_can_keep_the_order_of_execution() -> None:
    lines = of_operators(TIMES, in_order=True).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "2"]
