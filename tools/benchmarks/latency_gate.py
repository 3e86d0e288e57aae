"""Whether a latency gate can be trusted: medians beside litert-benchmark's, A/A and A/B while the other core is loaded.

    ./tools/run python tools/benchmarks/latency_gate.py --work FOLDER [--turns 12] [--same 200] [--dearer 100]

Prints Markdown. Medians: networks of over 0.5 ms, both programs in turn, fresh processes on one core, kernels of
XNNPACK, one thread; the median of the ratios of turns. A/A: an artifact compared with itself as `edgebuild bench
--against` does, while a busy process holds the other core. A/B: against a network of 20 equal convolutions, one of 22.
A regression is one against the budget "+5 %": the interval of the ratio lies above 1.05; below it is a pass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import host
from edgebuild.actions.measuring import Measured, MeasureJob
from edgebuild.core import place
from edgebuild.core.settings import BenchSettings
from edgebuild.core.target import Kernels
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.process import Child, Limits

_HERE = Path(__file__).parent
_ASSETS = (
    "edgetpu/mobilenet_v1_0.25_128_quant.tflite",
    "edgetpu/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
    "edgetpu/deeplabv3_mnv2_dm05_pascal_quant.tflite",
)
_LAYERS, _MORE_LAYERS = 20, 22
_LIMIT = 1.05
_TURN_S = 1.0
_DEFAULT = BenchSettings(
    on=("host",), baseline="", time=10.0, precision=0.02, runs=3000, workers=3, threads=1, pin=True
)
_LIMITS = Limits(time_s=60.0, memory_bytes=2 * 10**9)


class Compared(NamedTuple):
    """One comparison: the ratio, its interval, and how long it took."""

    ratio: float
    low: float
    high: float
    took_s: float

    @property
    def verdict(self) -> str:
        """Against the budget."""
        if self.low > _LIMIT:
            return "regression"
        return "pass" if self.high <= _LIMIT else "inconclusive"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    default = os.environ.get("EDGEBUILD_ASSETS", str(Path(__file__).parents[3] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--same", type=int, default=200)
    parser.add_argument("--dearer", type=int, default=100)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    network, dearer = (_network(layers, arguments.work) for layers in (_LAYERS, _MORE_LAYERS))
    print(f"{host.describe()}; {', '.join(f'{name} {version(name)}' for name in ('ai-edge-litert', 'edgebuild'))}")
    if arguments.turns:
        _print_medians([*(arguments.assets / name for name in _ASSETS), network], arguments.turns)
    print(f"\nMACs: {_macs(network):,} and {_macs(dearer):,}, ratio {_macs(dearer) / _macs(network):.3f}")
    print("\n| comparison, the other core loaded | regression | inconclusive | pass | ratio | half width | longest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with _other_core_busy():
        _print_comparisons("A/A", network, network, arguments.same)
        _print_comparisons("A/B, 10 % dearer", dearer, network, arguments.dearer)


def _network(layers: int, work: Path) -> Path:
    """A network of so many convolutions, made once and kept in the folder."""
    out = work / f"convolutions{layers}.tflite"
    if not out.is_file():
        subprocess.run(
            [sys.executable, str(_HERE / "dearer.py"), str(layers), str(out)], check=True, capture_output=True
        )
    return out


def _macs(artifact: Path) -> int:
    return inspect(artifact.read_bytes(), artifact.name).macs


def _print_medians(artifacts: Sequence[Path], turns: int) -> None:
    print("\n| network | turns | edgebuild | litert-benchmark | ratio, median of turns |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with _held_on_one_core():
        for artifact in artifacts:
            pairs = [_turn(artifact, turn) for turn in range(turns)]
            ours_s, theirs_s = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(ours / theirs for ours, theirs in pairs)
            row = f"{turns} | {1e3 * ours_s:.3f} ms | {1e3 * theirs_s:.3f} ms | {ratio:.3f}"
            print(f"| {artifact.stem} | {row} |", flush=True)


def _turn(artifact: Path, turn: int) -> tuple[float, float]:
    """The medians of edgebuild and of litert-benchmark, whose turn to be first it is each time another's."""
    bench = msgspec.structs.replace(_DEFAULT, time=_TURN_S, workers=1)
    if turn % 2:
        theirs_s = _litert_benchmark(artifact)
        return _measure(artifact, None, bench).artifact.statistics["median"], theirs_s
    ours_s = _measure(artifact, None, bench).artifact.statistics["median"]
    return ours_s, _litert_benchmark(artifact)


def _litert_benchmark(artifact: Path) -> float:
    """The median of as many runs as edgebuild does in its time, or so; it rounds to 0.01 ms."""
    program = str(Path(sys.executable).with_name("litert-benchmark"))
    runs = str(max(10, min(300, int(_TURN_S / _first_guess_s(artifact)))))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [program, "--model", str(artifact), "--num_runs", runs, "--warmup_runs", "10", "--num_threads", "1"]
        subprocess.run([*command, "--result_json", str(out)], check=True, capture_output=True)
        return float(json.loads(out.read_text())["latency"]["median_ms"]) * 1e-3


def _first_guess_s(artifact: Path) -> float:
    """How long an inference may take, at some 20 billion multiply-accumulates a second."""
    return _macs(artifact) / 2e10 + 1e-5


def _print_comparisons(title: str, artifact: Path, baseline: Path, count: int) -> None:
    if not count:
        return
    found = [_compare(artifact, baseline) for _ in range(count)]
    verdicts = [compared.verdict for compared in found]
    cells = [
        f"{title}, {count} times",
        *(str(verdicts.count(verdict)) for verdict in ("regression", "inconclusive", "pass")),
        f"{min(one.ratio for one in found):.3f} to {max(one.ratio for one in found):.3f}",
        f"{statistics.median((one.high - one.low) / 2 for one in found):.1%}",
        f"{max(one.took_s for one in found):.1f} s",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def _compare(artifact: Path, baseline: Path) -> Compared:
    started = time.perf_counter()
    ratio = _measure(artifact, baseline, _DEFAULT).ratios["median"]
    return Compared(ratio.ratio, *ratio.interval, time.perf_counter() - started)


def _measure(artifact: Path, baseline: Path | None, bench: BenchSettings) -> Measured:
    """What `edgebuild bench` does, in a child as it does it."""
    job = MeasureJob(
        artifact=str(artifact),
        baseline=str(baseline or ""),
        place=place.HERE,
        kernels=Kernels.XNNPACK,
        bench=bench,
        decide_at=(_LIMIT,) if baseline is not None else (),
        time_s=_LIMITS.time_s,
        memory_bytes=_LIMITS.memory_bytes,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("edgebuild.execution.serving", "the measurement", Path(folder) / "log") as child,
    ):
        return msgspec.json.decode(child.call("measure", job, _LIMITS, lambda _: None), type=Measured)


@contextlib.contextmanager
def _held_on_one_core() -> Iterator[None]:
    """This process and all that it starts, on the last core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextlib.contextmanager
def _other_core_busy() -> Iterator[None]:
    """A process that does nothing else than keep the first core busy."""
    hold = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    with subprocess.Popen([sys.executable, "-c", f"{hold}\nwhile True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()


if __name__ == "__main__":
    main()
