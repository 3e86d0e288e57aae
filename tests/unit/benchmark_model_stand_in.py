"""Stands in for TFLite's `benchmark_model`, of which no package exists: runs the file in LiteRT, prints as it does.

The flags, the order of what is done and the lines are those of tensorflow/lite/tools/benchmark/benchmark_model.cc.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

# A file beside it says how it behaves. PLAIN and RIGID know no --use_xnnpack: one has none, the other nothing else.
CRASH, HANG, OLD, PLAIN, RIGID = "crash", "hang", "old", "plain", "rigid"
# What this one holds is what an inference takes, in whole microseconds: where there is none the machine's clock tells.
CLOCK = "clock"


def written(folder: Path) -> Path:
    """The stand-in as a program in a folder."""
    program = folder / "benchmark_model"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$0" "$@"\n')
    program.chmod(0o755)
    return program


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _interpreter(graph: str, threads: int, xnnpack: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    found = Interpreter(model_path=graph, num_threads=threads, experimental_op_resolver_type=resolver)
    found.allocate_tensors()
    return found


def _timed_us(interpreter: Any, fewest: int, least_s: float, clock_us: int | None) -> list[int]:
    say(
        f"INFO: Running benchmark for at least {fewest} iterations and at least {least_s:g} seconds but terminate if "
        "exceeding 150 seconds."
    )
    times: list[int] = []
    finish = time.monotonic() + least_s
    while len(times) < fewest or time.monotonic() < finish:
        start = time.perf_counter_ns()
        interpreter.invoke()
        times.append((time.perf_counter_ns() - start) // 1000 if clock_us is None else clock_us)
    return times


def _line(times: list[int], old: bool) -> str:
    ranked = sorted(times)
    if ranked[0] == ranked[-1]:
        head = f"count={len(times)} curr={times[-1]}" + ("(all same)" if len(times) > 1 else "")
    else:
        head = (
            f"count={len(times)} first={times[0]} curr={times[-1]} min={ranked[0]} max={ranked[-1]} "
            f"avg={statistics.fmean(times):g} std={statistics.pstdev(times):.0f}"
        )
    at = [ranked[int(share * (len(ranked) - 1))] for share in (0.05, 0.5, 0.95)]
    return f"INFO: {head}" + ("" if old else f" p5={at[0]} median={at[1]} p95={at[2]}") + "\n"


def main(program: str, arguments: list[str]) -> int:
    behaves = {name for name in (CRASH, HANG, OLD, PLAIN, RIGID) if Path(program).with_name(name).exists()}
    clock = Path(program).with_name(CLOCK)
    clock_us = int(clock.read_text()) if clock.exists() else None
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, of, default in (
        ("graph", str, ""), ("num_threads", int, -1), ("use_xnnpack", str, "true"), ("num_runs", int, 50),
        ("min_secs", float, 1.0), ("warmup_runs", int, 1), ("warmup_min_secs", float, 0.5),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=of, default=default)
    asked = parser.parse_args(arguments)
    say("INFO: STARTING!\nINFO: Log parameter values verbosely: [0]")
    xnnpack = RIGID in behaves or (asked.use_xnnpack == "true" and PLAIN not in behaves)
    if PLAIN in behaves or RIGID in behaves:
        say(f"WARN: Unconsumed cmdline flags: --use_xnnpack={asked.use_xnnpack}")
    if HANG in behaves:
        time.sleep(600)
    start = time.perf_counter_ns()
    try:
        interpreter = _interpreter(asked.graph, max(1, asked.num_threads), xnnpack)
    except ValueError as error:
        say(f"ERROR: {error}\nERROR: Failed to load model {asked.graph}\nERROR: Benchmarking failed.")
        return 1
    init_us = (time.perf_counter_ns() - start) // 1000
    say(f"INFO: Loaded model {asked.graph}\nINFO: Initialized session in {init_us / 1000:g}ms.")
    if CRASH in behaves:
        os.abort()
    warm = _timed_us(interpreter, asked.warmup_runs, asked.warmup_min_secs, clock_us)
    say(_line(warm, OLD in behaves))
    times = _timed_us(interpreter, asked.num_runs, asked.min_secs, clock_us)
    say(_line(times, OLD in behaves))
    say(
        f"INFO: Inference timings in us: Init: {init_us}, First inference: {warm[0]}, Warmup (avg): "
        f"{statistics.fmean(warm):g}, Inference (avg): {statistics.fmean(times):g}"
    )
    say("INFO: Memory footprint delta from the start of the tool (MB): init=2.4375 overall=4.5")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
