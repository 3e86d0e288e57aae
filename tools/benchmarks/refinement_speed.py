"""What refinement costs beside the converter's own work, and what it gains.

    ./tools/run python tools/benchmarks/refinement_speed.py --work FOLDER [--only NAME ...] [--runs N]
        [--before CHECKOUT]

Each network is converted to int8 with 200 calibration samples by the converter alone and with refinement (equalize and
calibrate), and by the refinement of another checkout where one is named, in turn, each in a process of its own. Seconds
are medians over the runs: of the step `quantize` of the plain conversion, and of the steps `equalize` and `calibrate`
together; loading the network is the same for both and left out. Where a machine is busy with other work processor time
is the fairer figure. SQNR is that of the outputs against the float network's on other samples than those calibrated on.
Networks are made once (seeded) and kept in the folder, and so is each run. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild import host

_HERE = Path(__file__).parent
_PLAIN, _REFINED, _BEFORE = "plain", "refined", "before"
_REFINING = ("equalize", "calibrate")


class Case(NamedTuple):
    """A network: what it is called, and what `refinement_networks.py` calls it."""

    name: str
    network: str


CASES = (
    Case("keyword spotting", "kws"),
    Case("MobileNetV1 0.25/96", "mobilenet_v1"),
    Case("ResNet8", "resnet8"),
    Case("MobileNetV2 1.0/224", "mobilenet_v2"),
    Case("LSTM", "lstm"),
    Case("residual", "residual"),
    Case("depthwise", "depthwise"),
    Case("inverted, ReLU6", "inverted"),
    Case("MobileNetV1 0.5, ReLU6", "mobilenet"),
    Case("gated, hard-swish", "gated"),
    Case("LeNet-5", "lenet5"),
    Case("LeNet-300-100", "lenet300"),
)


class Taken(NamedTuple):
    """What one run took: wall and processor seconds, the peak of memory in bytes, and the SQNR that it reached."""

    wall_s: float
    processor_s: float
    peak_bytes: int
    sqnr_db: float


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[case.network for case in CASES])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="a checkout of another state of edgebuild")
    default = os.environ.get("EDGEBUILD_ASSETS", str(_HERE.parents[2] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    arguments = parser.parse_args()
    checkouts = {_PLAIN: _HERE.parents[1], _REFINED: _HERE.parents[1]}
    if arguments.before:
        checkouts[_BEFORE] = arguments.before
    found = {}
    for case in CASES:
        if case.network in arguments.only:
            folder = arguments.work / case.network
            _make(case.network, folder, arguments.assets)
            found[case] = _in_turn(folder, arguments.assets, checkouts, arguments.runs)
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "ai-edge-litert", "edgebuild"))
    print(f"{host.describe()}; {versions}\n")
    _print(found)


def _make(network: str, folder: Path, assets: Path) -> None:
    """A network and its data, if they are not there yet."""
    if not (folder / "data.npz").is_file():
        command = [sys.executable, str(_HERE / "refinement_networks.py"), network, str(folder), str(assets)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _in_turn(folder: Path, assets: Path, checkouts: dict[str, Path], runs: int) -> dict[str, list[Taken]]:
    found: dict[str, list[Taken]] = {mode: [] for mode in checkouts}
    for number in range(runs):
        for mode, checkout in checkouts.items():
            kept = folder / f"{mode}-{number}.json"
            if not kept.is_file():
                beside = kept.with_suffix(".new")
                beside.write_text(_run(mode, folder, assets, checkout))
                beside.replace(kept)
            found[mode].append(_taken(mode, json.loads(kept.read_text())))
    return found


def _run(mode: str, folder: Path, assets: Path, checkout: Path) -> str:
    """What `refinement_child.py` prints."""
    own = folder / "model.h5"
    model = own if own.is_file() else assets / "kws" / "saved_model"
    with tempfile.TemporaryDirectory() as out:
        how = _PLAIN if mode == _PLAIN else _REFINED
        command = [sys.executable, str(_HERE / "refinement_child.py"), how, str(model), str(folder / "data.npz"), out]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return ran.stdout.splitlines()[-1]


def _taken(mode: str, run: dict[str, Any]) -> Taken:
    """The first conversion of a plain run, or all that refines."""
    wanted = ("quantize-1",) if mode == _PLAIN else _REFINING
    sums = [sum(s for step, s in run[key].items() if step.startswith(wanted)) for key in ("wall_s", "processor_s")]
    return Taken(*sums, run["peak"], run["sqnr_db"])


def _print(found: dict[Case, dict[str, list[Taken]]]) -> None:
    print("| network | | wall | processor | ratio: wall, processor | peak memory | SQNR |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    words = {_PLAIN: "converter", _BEFORE: "refinement, before", _REFINED: "refinement"}
    for case, modes in found.items():
        usual = _median(modes[_PLAIN])
        for mode in (mode for mode in words if mode in modes):
            own = _median(modes[mode])
            ratios = (own.wall_s / usual.wall_s, own.processor_s / usual.processor_s)
            ratio = "" if mode == _PLAIN else "{:.1f}, {:.1f}".format(*ratios)
            print(
                f"| {case.name if mode == _PLAIN else ''} | {words[mode]} | {own.wall_s:.1f} s"
                f" | {own.processor_s:.1f} s | {ratio} | {own.peak_bytes / 1e6:.0f} MB | {own.sqnr_db:.1f} dB |"
            )


def _median(runs: list[Taken]) -> Taken:
    columns = list(zip(*runs, strict=True))
    return Taken(*(statistics.median(column) for column in columns))


if __name__ == "__main__":
    main()
