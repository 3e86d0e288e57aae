"""What half of the multiply-accumulates is worth in time, taken where a measurement says it pays, or evenly.

    ./tools/run python tools/benchmarks/channel_speed.py [--rounds N]

Builds MobileNetV1 0.5/128 (untrained, int8) three times: whole, uniformly narrower by hand to half of the MACs, and
pruned by edgebuild to half of the MACs, ranked by measured latency; then runs all three in turn on LiteRT with XNNPACK,
one thread, and prints a Markdown table of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import networks
import numpy as np
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from edgebuild import host

_RUNS = 25
_WARMUP_RUNS = 20
# The width at which all layers together, at multiples of 8, have half of the MACs.
_NARROW = 0.7
_PRUNED = (
    "passes.channels.keep=50%",
    "passes.channels.rank_by=latency",
    "passes.channels.importance=l2",
    "passes.channels.untrained=true",
    "passes.prune=off",
)


def main() -> None:
    """Build, run in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifests = _built(Path(folder))
        paths = {
            name: Path(folder) / name / "arm64" / manifest["artifact"]["path"] for name, manifest in manifests.items()
        }
        times_s = _in_turn(paths, arguments.rounds)
    print(f"{host.describe()}; ai-edge-litert {version('ai-edge-litert')}, tensorflow {version('tensorflow')}\n")
    print("| network | MACs | file | median latency | times as fast as the whole (rounds, 10 % to 90 %) |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, manifest in manifests.items():
        macs = sum(operator["macs"] for operator in manifest["network"]["operators"])
        ratios = sorted(whole / own for whole, own in zip(times_s["whole"], times_s[name], strict=True))
        spread = f"{ratios[len(ratios) // 10]:.2f} to {ratios[-1 - len(ratios) // 10]:.2f}"
        median_s = statistics.median(times_s[name])
        print(
            f"| {name} | {macs:,} | {manifest['artifact']['size_bytes']:,} | {median_s * 1e3:.3f} ms "
            f"| {statistics.median(ratios):.2f} ({spread}) |"
        )
    print()
    for note in manifests["pruned"]["notes"]:
        print(f"- {note}")


def _built(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    samples = rng.random((40, 128, 128, 3)).astype(np.float32)
    np.savez(folder / "data.npz", x_calibration=samples[:20], x_eval=samples[20:], y_eval=np.arange(20) % 10)
    tf_keras.utils.set_random_seed(0)
    networks.mobilenet128().save(folder / "whole.h5")
    networks.mobilenet128(_NARROW).save(folder / "uniform.h5")
    pruned = [part for setting in _PRUNED for part in ("--set", setting)]
    return {
        "whole": _edgebuild(folder, "whole", "whole.h5", "--no-compress"),
        "uniform": _edgebuild(folder, "uniform", "uniform.h5", "--no-compress"),
        "pruned": _edgebuild(folder, "pruned", "whole.h5", *pruned),
    }


def _edgebuild(folder: Path, out: str, model: str, *options: str) -> Any:
    command = [
        sys.executable,
        "-m",
        "edgebuild",
        model,
        "-d",
        "data.npz",
        "-t",
        "arm64",
        "-o",
        out,
        *options,
        "--no-refine",
        "--json",
    ]
    environment = {**os.environ, "EDGEBUILD_STORE": str(folder / "store")}
    ran = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=False)
    if ran.returncode not in (0, 1):  # untrained networks agree with nothing
        sys.exit(f"edgebuild {model} failed with exit code {ran.returncode}")
    return json.loads(ran.stdout)[0]


def _in_turn(paths: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """The median of each round, in seconds."""
    interpreters = {name: Interpreter(model_path=str(path), num_threads=1) for name, path in paths.items()}
    for interpreter in interpreters.values():
        interpreter.allocate_tensors()
        _runs(interpreter, _WARMUP_RUNS)
    found: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, interpreter in interpreters.items():
            found[name].append(statistics.median(_runs(interpreter, _RUNS)))
    return found


def _runs(interpreter: Interpreter, count: int) -> list[float]:
    times_s = []
    for _ in range(count):
        started = time.perf_counter()
        interpreter.invoke()
        times_s.append(time.perf_counter() - started)
    return times_s


if __name__ == "__main__":
    main()
