"""What becomes of networks of the kinds that people bring: outcome, SQNR as anyone runs it, seconds.

    ./tools/run python tools/benchmarks/kinds.py --work FOLDER [--only NAME ...] [--targets arm64 mcu edgetpu]

Builds each network of kinds_of_networks.py for each target, by default settings (`--time 20s`) and with `--no-compress
--no-refine`, and prints Markdown. An artifact is run as anyone runs it: a fresh interpreter, sample after sample, on
LiteRT and, for mcu, on TensorFlow Lite Micro; inputs and outputs by position, as the manifest lists them. The SQNR is
that of its worst output against the network's own outputs, computed by its Keras. What was built before stays in the
folder, so that a run that was cut short goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from kinds_of_networks import KINDS

from edgebuild import host

HERE = Path(__file__).parent
SETTINGS = {"default": ("--time", "20s"), "plain": ("--no-compress", "--no-refine")}
TARGETS = ("arm64", "mcu", "edgetpu")
_ENOUGH_DB = 20.0


class Built(NamedTuple):
    """What came of one build: its exit code, its folder, its last words and the seconds that it took."""

    code: int
    folder: Path
    words: str
    seconds: float


def main() -> None:
    """Build and print, network by network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(KINDS))
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "ai-edge-litert", "edgebuild"))
    print(f"{host.describe()}; {versions}\n")
    print("| network | settings | target | outcome | accuracy (float) | SQNR LiteRT | SQNR TFLM | size | seconds |")
    print("| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in arguments.only:
        made = _made(name, arguments.work / name)
        for settings in arguments.settings:
            for target in arguments.targets:
                row = _row(made, settings, target)
                print(f"| {name} | {settings} | {target} | {' | '.join(row)} |", flush=True)


def _made(name: str, folder: Path) -> Path:
    """The network's file, beside its data and its own outputs for the evaluation samples."""
    found = next(iter(folder.glob(f"{name}.keras")), None) or next(iter(folder.glob(f"{name}.h5")), None)
    if found is None:
        _run(HERE / "kinds_of_networks.py", name, folder)
        return _made(name, folder)
    if not (folder / "expected.npz").exists():
        _run(HERE / "kinds_expected.py", found, folder / f"{name}.npz", folder / "expected.npz")
    return found


def _run(script: Path, *arguments: object) -> None:
    subprocess.run([sys.executable, str(script), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def _row(network: Path, settings: str, target: str) -> Iterator[str]:
    kept = network.parent / f"{settings}-{target}.json"
    if not kept.exists():
        kept.write_text(json.dumps(list(_cells(network, settings, target))))
    yield from json.loads(kept.read_text())


def _cells(network: Path, settings: str, target: str) -> Iterator[str]:
    built = _build(network, settings, target)
    manifest_file = built.folder / target / "manifest.json"
    if not manifest_file.exists():
        yield from (f"exit {built.code}: {built.words}", "", "", "", "", f"{built.seconds:.0f}")
        return
    manifest = json.loads(manifest_file.read_text())
    artifact = manifest_file.parent / manifest["artifact"]["path"]
    on_litert = _sqnr(network, artifact, "litert")
    on_tflm = _sqnr(network, artifact, "tflm") if target == "mcu" else None
    accuracy = manifest["accuracy"]
    scored = (
        f"{accuracy['metric']} {accuracy['artifact']:.4g} ({accuracy['baseline']:.4g})" if accuracy else "not scored"
    )
    yield f"exit {built.code}, {manifest['verdict']['status']}"
    yield scored
    yield _decibels(on_litert)
    yield _decibels(on_tflm) if target == "mcu" else ""
    yield f"{manifest['artifact']['size_bytes']:,}"
    yield f"{built.seconds:.0f}"


def _decibels(found: float | str | None) -> str:
    if found is None or isinstance(found, str):
        return found or ""
    return f"{found:.1f}" if found >= _ENOUGH_DB else f"**{found:.1f}**"


def _build(network: Path, settings: str, target: str) -> Built:
    folder = network.parent / f"{settings}-{target}"
    command = [sys.executable, "-m", "edgebuild", str(network), "-d", str(network.parent / f"{network.stem}.npz")]
    command += ["-t", target, "--out", str(folder), "--quiet", "--no-repair", *SETTINGS[settings]]
    apart = {"EDGEBUILD_STORE": str(network.parent / "store"), "EDGEBUILD_HISTORY": "off"}
    started = time.monotonic()
    ran = subprocess.run(command, env={**os.environ, **apart}, capture_output=True, text=True, check=False)
    return Built(ran.returncode, folder, _words(ran.stderr), time.monotonic() - started)


def _words(told: str) -> str:
    """What an error says, why and what to do: in one line."""
    lines = told.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("error: ")), len(lines) - 1)
    ends = itertools.takewhile(lambda line: line.startswith("  "), lines[start + 1 :])
    said = [line.strip().removeprefix("error: ").rstrip(".") for line in (*lines[start : start + 1], *ends)]
    return ". ".join(said).replace("|", "/")


def _sqnr(network: Path, artifact: Path, runtime: str) -> float | str:
    """The SQNR of the worst output in decibels, or how the run ended; in a process of its own."""
    data, expected = network.parent / f"{network.stem}.npz", network.parent / "expected.npz"
    command = [sys.executable, str(HERE / "kinds_run.py"), runtime, str(artifact), str(data), str(expected)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return f"**run ended with {ran.returncode}**"
    return float(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
