"""What int8 keeps of a network: edgebuild against the converter alone and against ai-edge-quantizer.

    python3 -m venv RIVAL && RIVAL/bin/pip install ai-edge-quantizer==0.10.0
    ./tools/run python tools/benchmarks/int8_accuracy.py --work FOLDER --rival RIVAL [--only NAME ...] [--draws N]
        [--seeds N]

Every network comes as it is, with several draws of 200 calibration samples, and three of them spoilt as well: channels
multiplied by 10^U(-1.5, 1.5) between layers and divided out behind, so that the float network computes the same. All
tools get the same calibration samples; edgebuild gets 2,000 train samples with their answers beside, as its users have
them. All artifacts run on LiteRT's XNNPACK kernels on the same evaluation samples. SQNR is that of the outputs against
the float network's. Networks are trained once (seeded) and kept in the folder, and so is each result: a run that was
stopped goes on where it was. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
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
_CALIBRATION, _TRAIN = 200, 2_000  # samples
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
    Case("gated, hard-swish", "gated", _MNIST, 1 / 255),
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
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10)
    default = os.environ.get("EDGEBUILD_ASSETS", str(_HERE.parents[2] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for case in CASES:
        if case.name in arguments.only:
            bench = Bench(case, arguments.work / case.network.replace("/", "-"), arguments.assets, arguments.rival)
            found[case] = bench.results(arguments.draws, arguments.seeds)
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "ai-edge-litert", "edgebuild"))
    print(f"{host.describe()}; {versions}, ai-edge-quantizer 0.10.0\n")
    _print(found)


class Variant(NamedTuple):
    """A draw of calibration samples, and the seed of a spoilt copy; None for the network as it is."""

    draw: int
    seed: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"draw-{self.draw}" if self.seed is None else f"spoilt-{self.seed}"


class Bench:
    """All variants of one network; `work` is where they are kept."""

    def __init__(self, case: Case, work: Path, assets: Path, rival: Path) -> None:
        self._case, self.work, self._rival, self._assets = case, work, rival, assets
        work.mkdir(exist_ok=True)

    def results(self, draws: int, seeds: int) -> dict[Variant, dict[str, Any]]:
        """What came of the network as it is, by draw, and of its spoilt copies."""
        spoilt = [Variant(0, seed) for seed in range(seeds if self._case.is_spoilt else 0)]
        return {item: self._result(item) for item in [*map(Variant, range(draws)), *spoilt]}

    def data(self, draw: int) -> Path:
        """Samples of x_train for calibration, and of x_eval (or x_test) for evaluation, as the network takes them."""
        path = self.work / f"data-{draw}.npz"
        if path.is_file():
            return path
        found = np.load(self._assets / self._case.data)
        x, y = (found[key if key in found else key.replace("eval", "test")] for key in ("x_eval", "y_eval"))
        rows = np.random.default_rng(draw).permutation(len(found["x_train"]))[:_TRAIN]
        train, evaluation = ((array * self._case.scale).astype(np.float32) for array in (found["x_train"][rows], x))
        if train.ndim == 3 and self._case.network != "lenet300":
            train, evaluation = train[..., None], evaluation[..., None]
        answers = {"y_train": found["y_train"][rows], "y_eval": y}
        np.savez(path, x_calibration=train[:_CALIBRATION], x_train=train, x_eval=evaluation, **answers)
        return path

    def _result(self, variant: Variant) -> dict[str, Any]:
        kept = self.work / f"{variant.name}.json"
        if not kept.is_file():
            folder = self.work / variant.name
            folder.mkdir(exist_ok=True)
            found = self._measured(folder, variant)
            beside = kept.with_suffix(".new")
            beside.write_text(json.dumps(found))
            beside.replace(kept)
        return json.loads(kept.read_text())

    def _measured(self, folder: Path, variant: Variant) -> dict[str, Any]:
        data = np.load(self.data(variant.draw))
        model = self.network()
        if variant.seed is not None:
            model = folder / "model.h5"
            run("spoil.py", self.network(), str(variant.seed), model)
        samples = folder / "samples.npy"
        np.save(samples, data["x_calibration"])
        float_path, plain = folder / "float.tflite", folder / "plain.tflite"
        run("float_ends.py", model, samples, float_path, plain)
        artifacts = {_PLAIN: plain}
        for rival, algorithm in _RIVALS.items():
            path = folder / f"{algorithm}.tflite"
            try:
                run("ai_edge_quantizer_int8.py", float_path, samples, algorithm, path, python=self._rival)
                artifacts[rival] = path
            except subprocess.CalledProcessError:
                print(f"{rival} refuses {model}", file=sys.stderr)
        artifacts[_OURS], notes = self._edgebuild(model, folder, variant.draw)
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

    def _edgebuild(self, model: Path, folder: Path, draw: int) -> tuple[Path, list[str]]:
        command = [
            sys.executable,
            "-m",
            "edgebuild",
            str(model),
            "-d",
            str(self.data(draw)),
            "-t",
            "arm64",
            "--name",
            "ours",
        ]
        command += ["-o", str(folder / "dist"), "--no-compress", "--no-repair", "--json"]
        hurried = {"workers": "1", "precision": "100 %", "time": "2s"}  # latency is not the question here
        command += [word for key, value in hurried.items() for word in ("--set", f"bench.{key}={value}")]
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


def _print(found: dict[Case, dict[Variant, dict[str, Any]]]) -> None:
    makers = [_PLAIN, *_RIVALS, _OURS]
    print("| network | float |", " | ".join(makers), "|")
    print("| --- | ---: |", " | ".join("---:" for _ in makers), "|")
    usual: dict[Case, list[dict[str, Any]]] = {}
    for case, results in found.items():
        draws = usual[case] = [result for variant, result in results.items() if variant.seed is None]
        cells = [_cell(draws, maker) for maker in makers]
        print(f"| {case.name} | {draws[0]['float']:.2%} |", " | ".join(cells), "|")
        spoilt = [result for variant, result in results.items() if variant.seed is not None]
        if spoilt:
            cells = [_spread([result[maker][0] for result in spoilt if maker in result]) for maker in makers]
            print(f"| {case.name}, spoilt, {len(spoilt)} seeds: least, median | |", " | ".join(cells), "|")
    _print_together(list(usual.values()))
    for case, draws in usual.items():
        *_, gained, lost = _means(draws, _OURS)
        single = [f"{100 * (draw[_OURS][0] - draw[_PLAIN][0]):+.2f}" for draw in draws]
        print(
            f"\n- {case.name}: {draws[0]['samples']:,} samples, {gained:.1f} right where the converter's int8 is wrong,"
        )
        print(f"  {lost:.1f} wrong where it is right; points by draw: {', '.join(single)}. Of the first draw:")
        for note in draws[0]["notes"]:
            if ": host: " not in note:  # of its clock, which nothing here depends on
                print(f"  - {note}")


def _print_together(networks: list[list[dict[str, Any]]]) -> None:
    """Figures over all networks, of their means over draws."""
    pairs = [(_means(draws, _OURS), _means(draws, _PLAIN)) for draws in networks]
    gains = [ours[1] - plain[1] for ours, plain in pairs]
    points = [100 * (ours[0] - plain[0]) for ours, plain in pairs]
    changed = [sum(each[2] for each in column) for column in zip(*pairs, strict=True)]
    gained, lost = (sum(ours[place] for ours, _ in pairs) for place in (3, 4))
    print(f"\nedgebuild over the converter, networks as they are: SQNR {statistics.mean(gains):+.1f} dB on average")
    print(f"(least {min(gains):+.1f}), accuracy {statistics.mean(points):+.3f} points (least {min(points):+.2f}),")
    print("answers other than the float network's {:.0f} instead of {:.0f},".format(*changed))
    print(f"right where the converter's int8 is wrong {gained:.1f}, wrong where it is right {lost:.1f}.")


def _cell(draws: list[dict[str, Any]], maker: str) -> str:
    if not all(maker in draw for draw in draws):
        return "refused"
    return "{:.2%}, {:.1f} dB, {:.0f} changed".format(*_means(draws, maker)[:3])


def _means(draws: list[dict[str, Any]], maker: str) -> list[float]:
    """Of each figure of a result over draws."""
    return [statistics.mean(column) for column in zip(*(draw[maker] for draw in draws), strict=True)]


def _spread(values: list[float]) -> str:
    return f"{min(values):.2%}, {statistics.median(values):.2%}"


if __name__ == "__main__":
    main()
