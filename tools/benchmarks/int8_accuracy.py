"""What int8 keeps of a network: edgebuild against the converter alone and against ai-edge-quantizer.

    python3 -m venv RIVAL && RIVAL/bin/pip install ai-edge-quantizer==0.10.0
    ./tools/run python tools/benchmarks/int8_accuracy.py --work FOLDER --rival RIVAL [--only NAME ...] [--seeds N]

Every network comes as it is and three of them spoilt as well: channels multiplied by 10^U(-1.5, 1.5) between layers and
divided out behind, so that the float network computes the same. All are quantized with the same 200 calibration samples
and run on LiteRT's XNNPACK kernels on the same evaluation samples. SQNR is that of the outputs against the float
network's. Networks are trained once (seeded) and kept in the folder, and so is each result: a run that was stopped goes
on where it was. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgebuild import host

_HERE = Path(__file__).parent
_CALIBRATION = 200
_RIVALS = {"ai-edge-quantizer": "MIN_MAX_UNIFORM_QUANT", "ai-edge-quantizer, OCTAV": "OCTAV"}
_PLAIN, _OURS = "converter", "edgebuild"


class Case(NamedTuple):
    """A network with its data, and whether there are spoilt copies of it."""

    name: str
    network: str
    data: str
    scale: float
    is_spoilt: bool = False


_MNIST = "mnist/mnist.npz"
CASES = (
    Case("keyword spotting", "kws/saved_model", "kws/kws.npz", 1.0, is_spoilt=True),
    Case("residual", "residual", _MNIST, 1 / 255, is_spoilt=True),
    Case("depthwise", "depthwise", _MNIST, 1 / 255, is_spoilt=True),
    Case("inverted, ReLU6", "inverted", _MNIST, 1 / 255),
    Case("MobileNetV1 0.5, ReLU6", "mobilenet", _MNIST, 1 / 255),
    Case("LeNet-5", "lenet5", _MNIST, 1 / 255),
    Case("LeNet-300-100", "lenet300", _MNIST, 1 / 255),
)


class Result(NamedTuple):
    """How one artifact does.

    Attributes:
        accuracy: the share of right answers.
        sqnr_db: the signal to quantization noise ratio.
        changed: samples that are answered otherwise than by the float network.
        gained: samples that are right where the converter's artifact is wrong.
        lost: samples that are wrong where it is right.
    """

    accuracy: float
    sqnr_db: float
    changed: int
    gained: int
    lost: int


def main() -> None:
    """Measure all that is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rival", type=Path, required=True, help="an environment with ai-edge-quantizer")
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--seeds", type=int, default=10)
    default = os.environ.get("EDGEBUILD_ASSETS", str(_HERE.parents[2] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for case in CASES:
        if case.name in arguments.only:
            bench = Bench(case, arguments.work / case.network.replace("/", "-"), arguments.assets, arguments.rival)
            found[case] = bench.results(arguments.seeds)
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "ai-edge-litert", "edgebuild"))
    print(f"{host.describe()}; {versions}, ai-edge-quantizer 0.10.0\n")
    _print(found)


class Bench:
    """All variants of one network; `work` is where they are kept, `data` the samples for all of them."""

    def __init__(self, case: Case, work: Path, assets: Path, rival: Path) -> None:
        self._case, self.work, self._rival, self._assets = case, work, rival, assets
        work.mkdir(exist_ok=True)
        self.data = work / "data.npz"
        if not self.data.is_file():
            self._divide(assets / case.data)

    def results(self, seeds: int) -> dict[str, dict[str, Any]]:
        """What came of the network as it is and of its spoilt copies."""
        names = ["as it is", *(f"spoilt-{seed}" for seed in range(seeds if self._case.is_spoilt else 0))]
        return {name: self._result(name) for name in names}

    def _divide(self, source: Path) -> None:
        """Samples of x_train for calibration and of x_eval (or x_test) for evaluation, as the network takes them."""
        data, rng = np.load(source), np.random.default_rng(0)
        x, y = (data[key if key in data else key.replace("eval", "test")] for key in ("x_eval", "y_eval"))
        rows = rng.permutation(len(data["x_train"]))[:_CALIBRATION]
        calibration, evaluation = (
            (array * self._case.scale).astype(np.float32) for array in (data["x_train"][rows], x)
        )
        if calibration.ndim == 3 and self._case.network != "lenet300":
            calibration, evaluation = calibration[..., None], evaluation[..., None]
        np.savez(self.data, x_calibration=calibration, x_eval=evaluation, y_eval=y)

    def _result(self, name: str) -> dict[str, Any]:
        kept = self.work / f"{name.replace(' ', '-')}.json"
        if not kept.is_file():
            folder = self.work / name.replace(" ", "-")
            folder.mkdir(exist_ok=True)
            found = self._measured(folder, int(name.split("-")[1]) if name.startswith("spoilt") else None)
            beside = kept.with_suffix(".new")
            beside.write_text(json.dumps(found))
            beside.replace(kept)
        return json.loads(kept.read_text())

    def _measured(self, folder: Path, seed: int | None) -> dict[str, Any]:
        data = np.load(self.data)
        model = self.network() if seed is None else folder / "model.h5"
        if seed is not None:
            run("spoil.py", self.network(), str(seed), model)
        samples = folder / "samples.npy"
        np.save(samples, data["x_calibration"])
        float_path, plain = folder / "float.tflite", folder / "plain.tflite"
        run("float_ends.py", model, samples, float_path, plain)
        artifacts = {_PLAIN: plain}
        for rival, algorithm in _RIVALS.items():
            artifacts[rival] = folder / f"{algorithm}.tflite"
            run("ai_edge_quantizer_int8.py", float_path, samples, algorithm, artifacts[rival], python=self._rival)
        artifacts[_OURS], notes = self._edgebuild(model, folder)
        x, y = data["x_eval"], data["y_eval"]
        wanted, usual = _outputs(float_path, x), _outputs(plain, x)
        found = {name: _compared(_outputs(path, x), wanted, usual, y) for name, path in artifacts.items()}
        return {"float": float(np.mean(wanted.argmax(1) == y)), "samples": len(x), "notes": notes, **found}

    def network(self) -> Path:
        """The network as it is: an asset, or trained the first time."""
        if (self._assets / self._case.network).exists():
            return self._assets / self._case.network
        path = self.work / f"{self._case.network}.h5"
        if not path.is_file():
            run("networks.py", self._case.network, self._assets / self._case.data, path)
        return path

    def _edgebuild(self, model: Path, folder: Path) -> tuple[Path, list[str]]:
        command = [
            sys.executable,
            "-m",
            "edgebuild",
            str(model),
            "-d",
            str(self.data),
            "-t",
            "arm64",
            "--name",
            "ours",
        ]
        command += ["-o", str(folder / "dist"), "--no-compress", "--no-repair", "--json"]
        environment = {**os.environ, "EDGEBUILD_STORE": str(self.work / "store"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
        if ran.returncode not in (0, 1):
            sys.exit(f"edgebuild failed on {model} with exit code {ran.returncode}")
        return folder / "dist" / "arm64" / "ours.tflite", json.loads(ran.stdout)[0]["notes"]


def run(script: str, *arguments: object, python: Path | None = None) -> None:
    """Run a script of this folder, in another environment where one is named."""
    interpreter = str(python / "bin" / "python") if python else sys.executable
    subprocess.run([interpreter, str(_HERE / script), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def _outputs(path: Path, x: Any) -> Any:
    """The outputs of an artifact, [samples, classes] in float32."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for sample in x:
        interpreter.set_tensor(given["index"], _stored(sample[None], given))
        interpreter.invoke()
        rows.append(_real(interpreter.get_tensor(wanted["index"])[0], wanted))
    return np.stack(rows)


def _stored(values: Any, tensor: dict[str, Any]) -> Any:
    """Values as a tensor of an artifact takes them: as they are, or quantized."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values
    kind = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, kind.min, kind.max).astype(tensor["dtype"])


def _real(stored: Any, tensor: dict[str, Any]) -> Any:
    """What the numbers of a tensor stand for."""
    scale, zero_point = tensor["quantization"]
    return (stored.astype(np.float32) - zero_point) * np.float32(scale) if scale else stored.copy()


def _compared(outputs: Any, wanted: Any, usual: Any, y: Any) -> Result:
    noise = np.sum((outputs.astype(np.float64) - wanted) ** 2)
    sqnr_db = 10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / max(noise, 1e-30))
    right, before = outputs.argmax(1) == y, usual.argmax(1) == y
    changed = outputs.argmax(1) != wanted.argmax(1)
    counts = [int(np.count_nonzero(each)) for each in (changed, right & ~before, before & ~right)]
    return Result(float(np.mean(right)), float(sqnr_db), *counts)


def _print(found: dict[Case, dict[str, dict[str, Any]]]) -> None:
    makers = [_PLAIN, *_RIVALS, _OURS]
    print("| network | float |", " | ".join(makers), "|")
    print("| --- | ---: |", " | ".join("---:" for _ in makers), "|")
    for case, results in found.items():
        plain = results["as it is"]
        figures = [plain[maker][:3] for maker in makers]
        cells = [f"{accuracy:.2%}, {sqnr_db:.1f} dB, {changed} changed" for accuracy, sqnr_db, changed in figures]
        print(f"| {case.name} | {plain['float']:.2%} |", " | ".join(cells), "|")
        spoilt = [result for name, result in results.items() if name != "as it is"]
        if spoilt:
            cells = [_spread([result[maker][0] for result in spoilt]) for maker in makers]
            print(f"| {case.name}, spoilt, {len(spoilt)} seeds: least, median | |", " | ".join(cells), "|")
    print()
    unspoilt = [results["as it is"] for results in found.values()]
    gains = [result[_OURS][1] - result[_PLAIN][1] for result in unspoilt]
    points = [100 * (result[_OURS][0] - result[_PLAIN][0]) for result in unspoilt]
    print(f"edgebuild over the converter, networks as they are: SQNR {statistics.mean(gains):+.1f} dB on average")
    changed = [sum(result[maker][2] for result in unspoilt) for maker in (_OURS, _PLAIN)]
    print(f"(least {min(gains):+.1f}), accuracy {statistics.mean(points):+.2f} points (least {min(points):+.2f}),")
    print("answers other than the float network's {} instead of {}.".format(*changed))
    for case, results in found.items():
        plain = results["as it is"]
        *_, gained, lost = plain[_OURS]
        print(f"\n- {case.name}: {plain['samples']:,} samples, {gained} right where the converter's int8 is wrong,")
        print(f"  {lost} wrong where it is right (p = {_p_value(gained, lost):.2f})")
        for note in plain["notes"]:
            print(f"  - {note}")


def _p_value(gained: int, lost: int) -> float:
    """Of the exact test of McNemar (1947): how likely a difference as large is where both are equally good."""
    count = gained + lost
    tail = sum(math.comb(count, number) for number in range(min(gained, lost) + 1)) / 2**count
    return min(1.0, 2 * tail)


def _spread(values: list[float]) -> str:
    return f"{min(values):.2%}, {statistics.median(values):.2%}"


if __name__ == "__main__":
    main()
