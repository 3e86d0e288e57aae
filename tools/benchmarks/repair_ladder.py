"""How far the repair ladder climbs: networks spoilt more and more, planned with the plain converter's int8 alone.

    ./tools/run python tools/benchmarks/repair_ladder.py --work FOLDER [--only NAME ...]

Channels are multiplied by 10^U(-d, d) between layers and divided out behind (spoil.py), for several d; then edgebuild
is asked for int8 without its refinements that loses at most 1 point, and may repair. Prints Markdown: each build that
it tried. Networks are trained once (seeded) and kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from int8_accuracy import CASES, Bench, run

from edgebuild import host

_DECADES = ("0.5", "1", "1.5")
_BUDGET = "accuracy_drop=1%"


def main() -> None:
    """Spoil, build and print, network by network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    default = os.environ.get("EDGEBUILD_ASSETS", str(Path(__file__).parents[3] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES if case.is_spoilt])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "ai-edge-litert", "edgebuild"))
    print(f"{host.describe()}; {versions}; budget {_BUDGET}\n")
    print("| network | decades | build | accuracy (float) | size | latency on this machine |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for case in CASES:
        if case.name in arguments.only:
            bench = Bench(case, arguments.work / case.network.replace("/", "-"), arguments.assets, Path())
            for decades in _DECADES:
                _print(case.name, decades, _climbed(bench, decades))


def _climbed(bench: Bench, decades: str) -> dict[str, Any]:
    """The manifest of a spoilt network after repair."""
    folder = bench.work / f"ladder-{decades}"
    folder.mkdir(exist_ok=True)
    model = folder / "spoilt.h5"
    run("spoil.py", bench.network(), "0", model, decades)
    command = [sys.executable, "-m", "edgebuild", str(model), "-d", str(bench.data(0)), "-t", "arm64", "--json"]
    command += ["--out", str(folder / "dist"), "--no-compress", "--no-refine", "--budget", _BUDGET]
    environment = {**os.environ, "EDGEBUILD_STORE": str(folder / "store"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    if ran.returncode not in (0, 1):
        sys.exit(f"edgebuild failed on {model} with exit code {ran.returncode}")
    manifest: dict[str, Any] = json.loads(ran.stdout)[0]
    return manifest


def _print(name: str, decades: str, manifest: dict[str, Any]) -> None:
    scored = manifest["accuracy"]
    latency = next(one["value"] for one in manifest["measurements"] if one["subject"] == "latency")
    alone = {"name": "as planned", "accuracy": scored["artifact"], "latency_s": latency, "kept": True}
    alone["size_bytes"] = manifest["artifact"]["size_bytes"]
    for rung in manifest["repair"] or [alone]:
        kept = "**kept**: " if rung["kept"] else ""
        share = f"{kept}{rung['accuracy']:.2%} ({scored['baseline']:.2%})"
        size = f"{rung['size_bytes']:,} bytes"
        print(
            f"| {name} | {decades} | {rung['name']} | {share} | {size} | {1e3 * rung['latency_s']:.3f} ms |", flush=True
        )


if __name__ == "__main__":
    main()
