"""edgebuild for three targets against a script by hand for one, and the times of what must feel instant.

    ./tools/run python tools/benchmarks/against_by_hand.py [--runs N] [--refined N] [--assets DIR]

Runs the commands in turn, N times each, and prints a Markdown table of medians and ratios; builds with refinement, one
and two steps at a time, as often as --refined says. Wall and processor time are
of the whole process tree; peak memory is the largest sum of the proportional set sizes (PSS) of all processes of the
tree, sampled every 20 ms. Linux only.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil

from edgebuild import host

_HERE = Path(__file__).parent
_TARGETS = ("arm64", "edgetpu", "mcu")
_REFINED = {jobs: f"edgebuild, 3 targets, refined, --jobs {jobs}" for jobs in (1, 2)}
_SAMPLE_S = 0.02
# Commands that must feel instant are over before the slower pace sees them.
_FAST_SAMPLE_S = 0.002
_LARGE_BYTES = 200_000_000


class Run(NamedTuple):
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Run everything in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--refined", type=int, default=2)
    default = os.environ.get("EDGEBUILD_ASSETS", str(_HERE.parents[2] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    arguments = parser.parse_args()
    kws = arguments.assets / "kws"
    if not (kws / "kws.npz").is_file():
        sys.exit(f"no networks at {arguments.assets}: name them with --assets or EDGEBUILD_ASSETS")
    # As an installation has it, whatever this shell says of bytecode.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(_HERE.parents[1] / "edgebuild", quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        _print(_runs(Path(folder), kws, arguments.runs, arguments.refined), arguments.runs)


def _runs(folder: Path, kws: Path, count: int, refined: int) -> dict[str, list[Run]]:
    edgebuild = [sys.executable, "-m", "edgebuild"]
    model, data = str(kws / "saved_model"), str(kws / "kws.npz")
    by_hand = [sys.executable, str(_HERE / "by_hand.py"), model, data, str(folder / "by_hand.tflite")]
    out = str(folder / "dist")
    targets = [word for target in _TARGETS for word in ("--target", target)]
    uncompressed = [*edgebuild, model, "--data", data, "--out", out, *targets, "--no-compress"]
    build = [*uncompressed, "--no-refine"]
    found: dict[str, list[Run]] = {"script by hand, 1 target": [], "edgebuild, 3 targets": []}
    for turn in range(count):
        found["script by hand, 1 target"].append(_run(by_hand, folder / "unused"))
        # A new store each time: nothing is kept from the run before.
        found["edgebuild, 3 targets"].append(_run(build, folder / f"store{turn}"))
    for turn in range(refined):
        for jobs, name in _REFINED.items():
            command = [*uncompressed, "--jobs", str(jobs)]
            found.setdefault(name, []).append(_run(command, folder / f"refined{turn}-{jobs}"))
    quick = {
        "unchanged rebuild, 3 targets": build,
        "edgebuild check": [*edgebuild, "check", out],
        "edgebuild --help": [*edgebuild, "--help"],
    }
    for _ in range(count):
        for name, command in quick.items():
            found.setdefault(name, []).append(_run(command, folder / f"store{count - 1}"))
    return found


def _run(command: list[str], store: Path) -> Run:
    """Start a command, follow its tree until it ends, and fail where it fails."""
    started = time.perf_counter()
    before = os.times()
    nowhere, environment = subprocess.DEVNULL, {**os.environ, "EDGEBUILD_STORE": str(store)}
    process = psutil.Popen(command, stdout=nowhere, stderr=nowhere, env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _tree_bytes(process))
        time.sleep(_SAMPLE_S if peak > _LARGE_BYTES else _FAST_SAMPLE_S)
    wall = time.perf_counter() - started
    after = os.times()
    if process.returncode != 0:
        sys.exit(f"exit code {process.returncode}: {' '.join(command)}")
    # A parent's times hold those of its children once they were waited for.
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall, cpu, peak)


def _tree_bytes(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_full_info().pss
    except psutil.Error:
        pass  # a process ended while it was looked at
    return total


def _print(found: dict[str, list[Run]], count: int) -> None:
    packages = ("edgebuild", "tensorflow", "tf-keras", "ai-edge-litert")
    print(f"Host: {host.describe()}; Python {sys.version.split()[0]}; ", end="")
    print(", ".join(f"{package} {version(package)}" for package in packages) + f"; {count} runs each, in turn.\n")
    print("| command | wall, median (min to max) | processor time | peak memory |")
    print("| --- | --- | --- | --- |")
    for name, runs in found.items():
        walls = [run.wall_s for run in runs]
        cpu, peak = (statistics.median(column) for column in ([r.cpu_s for r in runs], [r.peak_bytes for r in runs]))
        wall = f"{statistics.median(walls):.3f} s ({min(walls):.3f} to {max(walls):.3f})"
        print(f"| {name} | {wall} | {cpu:.3f} s | {peak / 1e6:.0f} MB |")
    hand, ours = found["script by hand, 1 target"], found["edgebuild, 3 targets"]
    peaks = [b.peak_bytes / a.peak_bytes for a, b in zip(hand, ours, strict=True)]
    one, two = (found.get(name, []) for name in _REFINED.values())
    if one:
        walls = [b.wall_s / a.wall_s for a, b in zip(one, two, strict=True)]
        print(f"\n--jobs 2 / --jobs 1, three targets with refinement, pair by pair: wall {_spread(walls)}.")
    walls = [b.wall_s / a.wall_s for a, b in zip(hand, ours, strict=True)]
    print(
        f"\nedgebuild for three targets / script for one, pair by pair: wall {_spread(walls)}, memory {_spread(peaks)}."
    )


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
