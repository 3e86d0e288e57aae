"""The loop that measures: how it takes turns, warms up, stops and tells, at simulated places and on this machine."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hostile_networks
import msgspec
import numpy as np
import psutil
import pytest
from making import SETTINGS

from edgebuild.actions.measuring import Measured, MeasureJob
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.place import HERE
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UnavailableError
from edgebuild.process import Child, Limits
from edgebuild.runtimes.measuring.rounds import Aim, BaselineError, Loop, Ran, settled, timing
from edgebuild.runtimes.measuring.worker import measure
from edgebuild.runtimes.places.protocol import Block, Closing, How, Loaded
from tests.conftest import PATIENCE_S

NET, OLD = Path("net.tflite"), Path("old.tflite")
HOW = How(Kernels.XNNPACK)
MARK = "EDGEBUILD_TEST_MEASURING"
LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=10**9)


def _bench(**fields: object) -> BenchSettings:
    return msgspec.structs.replace(SETTINGS.bench, **{"time": 30.0, "runs": 10_000, "workers": 3, **fields})


class Simulated:
    """A place whose costs are made up: it takes no time, and keeps what it was asked.

    Args:
        cost: of an inference, given the artifact's name, the process's number and the number of its inference.
    """

    label = "simulated"

    def __init__(self, cost: Callable[[str, int, int], float], subject: Subject = Subject.LATENCY) -> None:
        self.cost = cost
        self.subject = subject
        self.asked: list[str] = []
        self.alive = 0
        self.started = 0

    def start(self, artifact: Path, _: How) -> SimulatedWorker:
        self.asked.append(f"start {artifact.stem}")
        self.started += 1
        self.alive += 1
        return SimulatedWorker(self, artifact.stem, self.started)

    def close(self) -> None:
        self.asked.append("close")


class SimulatedWorker:
    def __init__(self, at: Simulated, name: str, number: int) -> None:
        self.at, self.name, self.number = at, name, number
        self.inferences = itertools.count()
        self.is_open = True
        first = self._sample()
        self.loaded = Loaded(
            machine="made up", kernels="xnnpack", versions={"simulator": "1"}, load=0.5, first=first, core=0
        )

    def _sample(self) -> float:
        return self.at.cost(self.name, self.number, next(self.inferences))

    def block(self, *, time_s: float, most: int) -> Block:
        self.at.asked.append(self.name)
        samples: list[float] = []
        while not samples or (len(samples) < most and sum(samples) < time_s):
            samples.append(self._sample())
        return Block(samples=tuple(samples), wall_s=sum(samples), energy_j=2.0 * len(samples))

    def outputs(self, samples: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        raise UnavailableError("it has none")

    def close(self) -> Closing:
        self.at.alive -= self.is_open
        self.is_open = False
        return Closing(peak_memory_bytes=1000 * self.number)


def _quiet(_name: str, _number: int, _inference: int) -> float:
    return 1e-3


def _unheard(_: str) -> None:
    pass


def test_a_quiet_machine_takes_as_many_processes_as_were_asked_for_and_no_more() -> None:
    at = Simulated(_quiet)
    loop = Loop(at, [NET], HOW, Aim(_bench(workers=4)), _unheard)
    (rans,) = loop.run()
    assert (len(rans), at.started, at.alive) == (4, 4, 0)
    assert loop.shortcomings() == ()


def test_processes_that_differ_ask_for_more_until_the_median_is_known_well_enough() -> None:
    rng = np.random.default_rng(0)
    layout = rng.normal(1, 0.03, 1000)

    def differing(_name: str, number: int, _inference: int) -> float:
        return float(1e-4 * layout[number])

    counts = []
    for precision in (0.1, 0.02):
        loop = Loop(Simulated(differing), [NET], HOW, Aim(_bench(precision=precision, runs=10**6)), _unheard)
        (rans,) = loop.run()
        assert loop.shortcomings() == ()
        counts.append(len(rans))
    assert counts[0] < counts[1]


def test_the_number_of_inferences_ends_it_and_that_is_said() -> None:
    rng = np.random.default_rng(0)
    at = Simulated(lambda *_: float(1e-4 * rng.choice([1.0, 3.0])))
    loop = Loop(at, [NET], HOW, Aim(_bench(runs=300, precision=0.0001)), _unheard)
    (rans,) = loop.run()
    timed = sum(len(settled(block)) for ran in rans for block in ran.blocks)
    assert 300 <= timed < 400
    assert len(rans) == 3
    (told,) = loop.shortcomings()
    assert told.startswith("imprecise: the median is known to +-")


def test_time_that_is_up_ends_it_after_one_process_and_that_is_said() -> None:
    class Slow(Simulated):
        def start(self, artifact: Path, how: How) -> SimulatedWorker:
            time.sleep(0.2)
            return super().start(artifact, how)

    loop = Loop(Slow(_quiet), [NET], HOW, Aim(_bench(time=0.05)), _unheard)
    (rans,) = loop.run()
    assert len(rans) == 1
    assert loop.shortcomings()[0] == "short: 50 ms were over after 1 of 3 processes"


def test_blocks_of_two_artifacts_run_in_turn_and_so_do_their_starts() -> None:
    at = Simulated(_quiet)
    Loop(at, [NET, OLD], HOW, Aim(_bench(workers=2)), _unheard).run()
    rounds = " ".join(at.asked).split("start net start old"), " ".join(at.asked).split("start old start net")
    assert [len(parts) for parts in rounds] == [2, 2]
    measured = at.asked[-60:]
    turns = ["".join(name[0] for name in measured[start : start + 4]) for start in range(0, 60, 4)]
    assert set(turns) in ({"noon"}, {"onno"})


def test_two_artifacts_have_as_many_blocks_each_process_by_process() -> None:
    costs = {"net": 2e-3, "old": 1e-3}
    ours, theirs = Loop(Simulated(lambda name, *_: costs[name]), [NET, OLD], HOW, Aim(_bench()), _unheard).run()
    assert [len(ran.blocks) for ran in ours] == [len(ran.blocks) for ran in theirs]
    assert all(len(ran.blocks) % 2 == 0 for ran in ours)


def test_inferences_before_it_is_steady_are_not_told() -> None:
    def falling(_name: str, _number: int, inference: int) -> float:
        return 1e-3 * max(1.0, 3.0 - inference / 20)

    (rans,) = Loop(Simulated(falling), [NET], HOW, Aim(_bench()), _unheard).run()
    told = timing(rans, Subject.LATENCY, ())
    assert told.statistics["max"] == 1e-3
    assert told.first == (3e-3, 3e-3, 3e-3)


def test_the_first_inference_of_a_block_is_left_out_where_others_are() -> None:
    assert settled(Block(samples=(9.0, 1.0, 1.0, 1.0), wall_s=1.0)) == (1.0, 1.0, 1.0)
    assert settled(Block(samples=(9.0, 1.0, 1.0), wall_s=1.0)) == (9.0, 1.0, 1.0)


def test_instructions_are_counted_in_one_process_without_warming_up() -> None:
    at = Simulated(lambda *_: 6_560_123.0, Subject.INSTRUCTIONS)
    loop = Loop(at, [NET], HOW, Aim(_bench()), _unheard)
    (rans,) = loop.run()
    told = timing(rans, at.subject, loop.shortcomings())
    assert at.asked == ["start net", "net", "net", "net"]
    assert told.statistics["median"] == 6_560_123.0
    assert told.intervals["median"] == (6_560_123.0, 6_560_123.0)
    assert told.conditions == ()


def test_a_busy_machine_is_told_of_times_and_not_of_counts() -> None:
    block = Block(samples=(1.0, 1.0), wall_s=1.0, cpu_s=0.4, preempted=7, probe_s=0.001)
    loaded = Loaded(machine="", kernels="", versions={})
    ran = Ran(loaded, (block,) * 3, Closing())
    (told,) = timing([ran], Subject.LATENCY, ()).conditions
    assert told == "neighbours: 60% of the time the core worked for other processes, 21 times"
    assert timing([ran], Subject.INSTRUCTIONS, ()).conditions == ()


def test_what_processes_told_is_summed_up() -> None:
    at = Simulated(_quiet)
    (rans,) = Loop(at, [NET], HOW, Aim(_bench()), _unheard).run()
    told = timing(rans, Subject.LATENCY, ("a note",))
    assert (told.machine, told.kernels, told.versions) == ("made up", "xnnpack", {"simulator": "1"})
    assert told.load == (0.5, 0.5, 0.5)
    assert told.peak_memory_bytes == (1000, 2000, 3000)
    assert told.energy_j == pytest.approx(2.0)
    assert sum(told.processes) == len(told.blocks)
    assert told.conditions == ("a note",)


@pytest.mark.parametrize("broken", ["net", "old"])
def test_a_process_that_fails_ends_the_round_and_the_other_process(broken: str) -> None:
    def failing(name: str, _number: int, inference: int) -> float:
        if name == broken and inference > 200:
            raise StepError(f"{name} crashed")
        return 1e-4

    at = Simulated(failing)
    with pytest.raises(StepError if broken == "net" else BaselineError, match=f"{broken} crashed"):
        Loop(at, [NET, OLD], HOW, Aim(_bench()), _unheard).run()
    assert at.alive == 0


def _job(artifact: Path, baseline: Path | None = None, **fields: object) -> MeasureJob:
    # Inferences end it, not time: how many blocks there are in a second is the machine's.
    bench = _bench(**{"time": PATIENCE_S, "workers": 2, "runs": 200, **fields})
    return MeasureJob(
        artifact=str(artifact),
        baseline=str(baseline or ""),
        place=HERE,
        kernels=Kernels.XNNPACK,
        bench=bench,
        time_s=LIMITS.time_s,
        memory_bytes=LIMITS.memory_bytes,
    )


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_an_artifact_is_measured_on_this_machine(tmp_path: Path, nothing_left: None) -> None:
    told = measure(_job(hostile_networks.relu(tmp_path / "net.tflite", 100_000)), _unheard)
    timed = told.artifact
    assert timed.subject == Subject.LATENCY
    assert sum(timed.processes) == len(timed.blocks)
    assert (
        0 < timed.statistics["min"] <= timed.statistics["median"] <= timed.statistics["p90"] <= timed.statistics["max"]
    )
    low, high = timed.intervals["median"]
    assert low <= timed.statistics["median"] <= high
    assert timed.peak_memory_bytes[0] >= 2 * 4 * 100_000
    assert len(timed.load) == len(timed.first) == len(timed.processes)
    assert (told.baseline, told.ratios) == (None, {})


@pytest.mark.slow
def test_a_much_dearer_artifact_is_told_from_its_baseline(tmp_path: Path, nothing_left: None) -> None:
    """Thirty times the work: no noise hides that."""
    large, small = (hostile_networks.relu(tmp_path / f"{size}.tflite", size) for size in (3_000_000, 100_000))
    told = measure(_job(large, small), _unheard)
    assert told.baseline is not None
    assert len(told.artifact.blocks) == len(told.baseline.blocks)
    assert told.ratios["median"].interval[0] > 1.05
    assert "paired" in told.ratios["median"].test


def _damaged(path: Path) -> Path:
    path.write_bytes(b"damaged")
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (hostile_networks.crashing, "it could not be measured: the interpreter of old.tflite crashed (signal SIGSEGV)"),
        (_damaged, "it could not be measured: LiteRT does not run old.tflite with xnnpack kernels"),
    ],
)
def test_a_baseline_that_does_not_run_is_no_comparison_and_no_failure(
    tmp_path: Path, nothing_left: None, make: Callable[[Path], Path], reason: str
) -> None:
    artifact, baseline = hostile_networks.relu(tmp_path / "net.tflite"), make(tmp_path / "old.tflite")
    told = measure(_job(artifact, baseline, workers=1), _unheard)
    assert (told.baseline, told.ratios) == (None, {})
    assert told.lacking == reason


def test_an_artifact_that_crashes_the_interpreter_fails_the_measurement(tmp_path: Path, nothing_left: None) -> None:
    with pytest.raises(StepError, match=r"the interpreter of net\.tflite crashed \(signal SIGSEGV\)"):
        measure(_job(hostile_networks.crashing(tmp_path / "net.tflite")), _unheard)


def test_it_works_as_a_child_and_leaves_no_process_where_that_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(tmp_path))  # inherited by all that it starts
    job = _job(hostile_networks.relu(tmp_path / "net.tflite"), workers=1)
    with Child("edgebuild.execution.serving", "the measurement", tmp_path / "log") as child:
        said: list[str] = []
        told = msgspec.json.decode(child.call("measure", job, LIMITS, said.append), type=Measured)
        assert told.artifact.statistics["median"] > 0
        assert said[0].startswith("1 of 1 processes")
        endless = _job(hostile_networks.endless(tmp_path / "endless.tflite"))
        with pytest.raises(StepError, match="the measurement was ended: it was not done after"):
            child.call("measure", endless, Limits(time_s=3, memory_bytes=10**9), _unheard)
    _wait_until(lambda: not any(_descends(process, tmp_path) for process in psutil.process_iter()))


def test_tflm_is_a_place_as_well(tmp_path: Path, nothing_left: None) -> None:
    pytest.importorskip("tflite_micro")
    job = _job(hostile_networks.relu(tmp_path / "net.tflite"), workers=1)
    told = measure(msgspec.structs.replace(job, place=place.parse("tflm")), _unheard)
    assert told.artifact.kernels == "tflm"
    assert told.artifact.load == ()


def _descends(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == str(folder)
    except psutil.Error:
        return False


def _wait_until(done: Callable[[], bool], most_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + most_s
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
