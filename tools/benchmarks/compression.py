"""What compression is worth: real networks built with and without it, against what each has to reach.

    ./tools/run python tools/benchmarks/compression.py --work FOLDER [--only NAME ...] [--assets DIR]

Networks are trained once (seeded) and kept in the folder, and so is the result of each row: a run that was stopped goes
on where it was. Prints Markdown tables. Every row is made by the command that stands in it, run in tools/benchmarks;
--no-compress is the same command without its passes, which only quantizes and packs. The converter alone (int8 ends,
the first 200 samples) is there for its size. int8 ranges and rounding are left to the converter everywhere.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild import host
from edgebuild.flatbuffer import weights

_HERE = Path(__file__).parent
# Kernels that pruning and clustering are about.
_PRUNED = ("CONV_2D", "FULLY_CONNECTED")
_SMALLEST = 1024


class Row(NamedTuple):
    """One build.

    Attributes:
        name: of the row.
        network: that is compressed: a name of networks.py, or a path below the assets.
        data: below the assets.
        target: the profile.
        settings: for --set, of both builds, separated by spaces.
        passes: likewise, of the compressed one.
        asked: what it has to reach, for people.
    """

    name: str
    network: str
    data: str
    target: str
    settings: str
    passes: str
    asked: str


_MNIST = "mnist/mnist.npz"
_KWS = "kws/saved_model"
_KWS_DATA = "kws/kws.npz"
_IMAGES = "preprocess.scale=1/255"
_LENET = f"{_IMAGES} train.augment=augmentation:shift_images train.batch_size=128 train.learning_rate=2e-3"
# Mixed samples have no labels of their own: the teacher's answers are all there is to learn from.
_SPEECH = "train.augment=augmentation:vary_speech distill.hard=0 train.learning_rate=2e-3"
_LONG = "train.time=2h train.patience=0"
_BYTES = "passes.channels.cost=bytes passes.channels.rank_by=bytes"
ROWS = (
    Row(
        "lenet-5",
        "lenet5",
        _MNIST,
        "mcu",
        f"{_LENET} {_LONG} train.epochs=40",
        f"passes.channels.keep=4.5% {_BYTES} passes.channels.rounds=6 passes.channels.multiple=1 "
        "passes.channels.max_drop=2%",
        "at most 28,792 bytes (1/60), aim 17,275 (1/100); at most 0.1 points lost",
    ),
    Row(
        "lenet-300-100",
        "lenet300",
        _MNIST,
        "mcu",
        f"{_IMAGES} train.augment=augmentation:nudge_images train.batch_size=128 train.learning_rate=2e-3 {_LONG} "
        "train.epochs=40",
        f"passes.channels.keep=15.2% {_BYTES} passes.channels.multiple=1 passes.channels.max_drop=5% "
        "passes.prune.first=true passes.prune.sparsity=40% passes.prune.max_drop=5% "
        "passes.cluster.clusters=32 passes.cluster.max_drop=5% passes.qat.part=30%",
        "at most 42,700 bytes (1/25), gzip at most 26,700 (1/40), aim 17,800 (1/60); at most 0.1 points lost",
    ),
    Row(
        "kws-half",
        _KWS,
        _KWS_DATA,
        "mcu",
        f"{_SPEECH} {_LONG} train.epochs=100",
        "passes.channels.keep=42% passes.channels.multiple=4 passes.channels.blocks=false passes.channels.max_drop=20%",
        "MACs at most 1,328,384 and file at most 24,240 bytes (half); at most 1 point lost",
    ),
    Row(
        "kws-third",
        _KWS,
        _KWS_DATA,
        "mcu",
        f"{_SPEECH} {_LONG} train.epochs=150",
        "passes.channels.keep=33.3% passes.channels.rounds=4 passes.channels.multiple=4 "
        "passes.channels.blocks=false passes.channels.max_drop=20%",
        "aim: MACs 885,589 and file 16,160 bytes (a third)",
    ),
    Row(
        "mobilenet-sparse",
        "mobilenet",
        _MNIST,
        "arm64",
        f"{_IMAGES} {_LONG} train.epochs=1 train.batch_size=128",
        "passes.channels=off passes.prune.sparsity=80% passes.prune.max_drop=20%",
        "file at most 0.6 of the dense int8 file",
    ),
    Row(
        "kws-pcqat",
        _KWS,
        _KWS_DATA,
        "arm64",
        f"{_SPEECH} {_LONG} train.epochs=40",
        "passes.channels=off passes.prune.sparsity=50% passes.prune.smallest=100 passes.prune.max_drop=10% "
        "passes.cluster.clusters=16 passes.cluster.max_drop=10% passes.qat.part=50%",
        "sparsity within 1 point of 50 %, at most 16 values a tensor",
    ),
)


def main() -> None:
    """Build every row that is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[row.name for row in ROWS])
    default = os.environ.get("EDGEBUILD_ASSETS", str(_HERE.parents[2] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    results = {row: _result(row, arguments.work, arguments.assets) for row in ROWS if row.name in arguments.only}
    print(f"{host.describe()}; tensorflow {version('tensorflow')}, edgebuild {version('edgebuild')}\n")
    _print(results)


def _result(row: Row, work: Path, assets: Path) -> dict[str, Any]:
    kept = work / f"{row.name}.json"
    command = " ".join(_command(row, row.network, row.data, compress=True))
    if not kept.is_file() or json.loads(kept.read_text())["command"] != command:
        model = _network(row.network, work, assets)
        plain = _build(row, model, work, assets, compress=False)
        compressed = _build(row, model, work, assets, compress=True)
        beside = kept.with_suffix(".new")
        alone = {"converter": _converter_alone(row, model, work, assets), "weights": _weights(row, work)}
        beside.write_text(json.dumps({"command": command, "plain": plain, "compressed": compressed, **alone}))
        beside.replace(kept)
    return json.loads(kept.read_text())


def _converter_alone(row: Row, model: Path, work: Path, assets: Path) -> list[int]:
    """The size of what the converter alone makes, and that of its gzip, in bytes."""
    out = work / f"{row.name}.plain.tflite"
    scale = str(1 / 255 if _IMAGES in row.settings else 1)
    subprocess.run([sys.executable, _HERE / "plain_converter.py", model, assets / row.data, scale, out], check=True)
    data = out.read_bytes()
    return [len(data), len(gzip.compress(data, 9, mtime=0))]


def _weights(row: Row, work: Path) -> str:
    """What the kernels of the compressed artifact hold, in words."""
    kernels = [item for item in weights.read(_artifact(row, work)) if item.values.size >= _SMALLEST]
    parts = [f"{item.sparsity:.1%} zeros, {item.unique} values" for item in kernels if item.operator in _PRUNED]
    return "; ".join(parts)


def _artifact(row: Row, work: Path) -> Path:
    return work / "dist" / row.name / row.target / f"{row.name}.tflite"


def _network(name: str, work: Path, assets: Path) -> Path:
    """A network of the assets, or one of networks.py, trained where it is not there yet."""
    if (assets / name).exists():
        return assets / name
    path = work / f"{name}.h5"
    if not path.is_file():
        subprocess.run([sys.executable, _HERE / "networks.py", name, assets / _MNIST, path], check=True)
    return path


def _command(row: Row, model: Path | str, data: Path | str, *, compress: bool) -> list[str]:
    chosen = f"{row.settings} {row.passes}".split() if compress else row.settings.split()
    return [
        str(model),
        *("--data", str(data), "--target", row.target),
        *(part for setting in chosen for part in ("--set", setting)),
        *("--no-refine", *(() if compress else ("--no-compress",))),
    ]


def _build(row: Row, model: Path, work: Path, assets: Path, *, compress: bool) -> dict[str, Any]:
    out = work / ("dist" if compress else "plain") / row.name
    command = [sys.executable, "-m", "edgebuild", *_command(row, model, assets / row.data, compress=compress)]
    store = {"EDGEBUILD_STORE": str(work / "store"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.run(
        [*command, "--name", row.name, "--out", str(out), "--json"],
        cwd=_HERE,
        env={**os.environ, **store},
        stdout=subprocess.PIPE,
        check=False,
    )
    if ran.returncode not in (0, 1):  # a budget of the profile may fail; the table shows by how much
        sys.exit(f"{row.name} failed with exit code {ran.returncode}")
    return json.loads(ran.stdout)[0]


def _print(results: dict[Row, dict[str, Any]]) -> None:
    print("| network | asked | | file | gzip | MACs | accuracy |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for row, result in results.items():
        plain, compressed = result["plain"], result["compressed"]
        baseline = compressed["accuracy"]["baseline"]
        size, zipped = result["converter"]
        print(f"| {row.name} | {row.asked} | float network | | | | {baseline:.2%} |")
        print(f"| | | converter alone, int8 | {size:,} | {zipped:,} | | |")
        for name, manifest in (("edgebuild --no-compress", plain), ("compressed", compressed)):
            artifact = manifest["artifact"]
            cells = [f"{artifact['size_bytes']:,}", f"{artifact['size_gzip_bytes']:,}", f"{_macs(manifest):,}"]
            print(f"| | | {name} | {' | '.join(cells)} | {_score(manifest)} |")
    print()
    for row, result in results.items():
        print(f"- {row.name}: `edgebuild {' '.join(_command(row, row.network, row.data, compress=True))}`")
        print(f"  - in the artifact, kernel by kernel: {result['weights']}")
        for note in result["compressed"]["notes"]:
            print(f"  - {note}")


def _macs(manifest: dict[str, Any]) -> int:
    return sum(operator["macs"] for operator in manifest["network"]["operators"])


def _score(manifest: dict[str, Any]) -> str:
    return f"{manifest['accuracy']['artifact']:.2%}"


if __name__ == "__main__":
    main()
