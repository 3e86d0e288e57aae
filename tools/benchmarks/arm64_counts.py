"""What counted instructions of emulated arm64 cores are worth: do they repeat, do they see 1 % more work, is it arm64.

    ./tools/run python tools/benchmarks/arm64_counts.py [--runs N] [--samples N] [--cores CORE ...] [--only PART ...]

- repeat: each network in `--runs` emulated systems started anew, a process in each; the median of its inferences.
- more: pairs of int8 networks (untrained, converted here) of which the second has about 1 % more MACs, in two systems;
  a pair is told apart where the closest counts of the two differ by more than 0.05 %, within which counts repeat.
- parity: the published int8 keyword-spotting network on the first `--samples` of `x_eval`; its outputs on the core
  against those of LiteRT's kernel families on this machine, byte by byte.

Prints Markdown. `edgebuild doctor --install arm64` sets up what it needs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild import host
from edgebuild.core import place
from edgebuild.core.target import Kernels
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.process import Limits
from edgebuild.runtimes.arm64 import emulator
from edgebuild.runtimes.interpreters import stored
from edgebuild.runtimes.places.protocol import How, unheard
from edgebuild.runtimes.places.table import open_place

_LIMITS = Limits(time_s=300, memory_bytes=4_000_000_000)
_INFERENCES = 9
_REPEATABLE = 0.0005
# What a network has more, and the two of a pair as arguments of `_network`: about 1 % of the MACs each.
_PAIRS: Mapping[str, tuple[dict[str, int], dict[str, int]]] = {
    "a layer of its own": ({}, {"extra": 2}),
    "a longer input": ({"rows": 100}, {"rows": 101}),
    "2 channels, within a block of 16 that kernels compute": ({"last": 58}, {"last": 60}),
    "2 channels, beyond such a block": ({"last": 64}, {"last": 66}),
}


def main() -> None:
    """Run the parts that are asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("EDGEBUILD_ASSETS", str(Path(__file__).parents[3] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--cores", nargs="*", default=place.CORES)
    parser.add_argument("--only", nargs="*", default=["repeat", "more", "parity"])
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("ai-edge-litert", "tensorflow", "numpy"))
    print(f"{host.describe()}; QEMU {emulator.find().version}, {versions}")
    with tempfile.TemporaryDirectory() as folder:
        if "repeat" in arguments.only:
            _print_repeats(arguments, Path(folder))
        if "more" in arguments.only:
            _print_more(arguments, Path(folder))
        if "parity" in arguments.only:
            _print_parity(arguments, Path(folder))


def counts(core: str, artifacts: list[Path], folder: Path) -> list[float]:
    """The median instructions of an inference of each artifact, each in a fresh process of one new system."""
    where = open_place(place.parse(f"arm64:{core}"), _LIMITS, folder, unheard)
    found = []
    try:
        for artifact in artifacts:
            worker = where.start(artifact, How(Kernels.XNNPACK))
            found.append(statistics.median(worker.block(time_s=2.0, most=_INFERENCES).samples))
            worker.close()
    finally:
        where.close()
    return found


def _print_repeats(arguments: argparse.Namespace, folder: Path) -> None:
    names = ["kws/reference_int8", "kws/reference_float32", "edgetpu/mobilenet_v1_0.25_128_quant"]
    artifacts = [arguments.assets / f"{name}.tflite" for name in names]
    print(f"\n| network | MACs | core | median instructions | widest difference of {arguments.runs} systems |")
    print("| --- | ---: | --- | ---: | ---: |")
    for core in arguments.cores:
        runs = [counts(core, artifacts, folder) for _ in range(arguments.runs)]
        for artifact, found in zip(artifacts, zip(*runs, strict=True), strict=True):
            spread = (max(found) - min(found)) / min(found)
            row = f"| {artifact.stem} | {_macs(artifact):,} | {core} | {statistics.median(found):,.0f} | {spread:.4%} |"
            print(row, flush=True)


def _print_more(arguments: argparse.Namespace, folder: Path) -> None:
    print("\n| what is more | MACs | core | instructions | told apart |")
    print("| --- | ---: | --- | ---: | --- |")
    artifacts = [_converted(folder, **given) for pair in _PAIRS.values() for given in pair]
    for core in arguments.cores:
        runs = list(zip(counts(core, artifacts, folder), counts(core, artifacts, folder), strict=True))
        for number, what in enumerate(_PAIRS):
            (first, second), (base, more) = artifacts[2 * number :][:2], runs[2 * number :][:2]
            closest = min(abs(one - other) for one in base for other in more)
            apart = closest > _REPEATABLE * min(base)
            macs = _macs(second) / _macs(first) - 1
            rise = statistics.mean(more) / statistics.mean(base) - 1
            print(
                f"| {what} | {_macs(first):,} {macs:+.2%} | {core} | {statistics.mean(base):,.0f} {rise:+.3%} "
                f"| {'yes' if apart else 'no'} |",
                flush=True,
            )


def _network(*, rows: int = 32, last: int = 64, extra: int = 0) -> Any:
    """An untrained convolutional network, the same each time.

    Args:
        rows: of the input, which has 32 columns and 3 channels.
        last: channels of the last convolution.
        extra: channels of one more layer beside it; 0 for none.
    """
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    given = layers.Input((rows, 32, 3), batch_size=1)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(given)
    for channels in (64, 64, last):
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
        x = layers.Conv2D(channels, 1, activation="relu")(x)
    if extra:
        x = layers.Concatenate()([x, layers.Conv2D(extra, 1, activation="relu")(x)])
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(given, layers.Dense(10)(x))


def _converted(folder: Path, **arguments: int) -> Path:
    """A network in int8, calibrated with noise."""
    model = _network(**arguments)
    rng = np.random.default_rng(0)
    shape = model.inputs[0].shape
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.representative_dataset = lambda: ([rng.random(shape).astype(np.float32)] for _ in range(8))
    path = Path(tempfile.mkdtemp(dir=folder)) / "network.tflite"
    path.write_bytes(converter.convert())
    return path


def _print_parity(arguments: argparse.Namespace, folder: Path) -> None:
    artifact = arguments.assets / "kws" / "reference_int8.tflite"
    samples = _samples(artifact, arguments.assets / "kws" / "kws.npz", arguments.samples)
    here = _outputs("host", artifact, samples, folder)
    print("\n| core | its kernels | kernels of this machine | outputs that differ | by at most |")
    print("| --- | --- | --- | ---: | ---: |")
    for core in arguments.cores:
        there = _outputs(f"arm64:{core}", artifact, samples, folder)
        for kernels, other in [(Kernels.XNNPACK, other) for other in Kernels] + [(k, k) for k in list(Kernels)[1:]]:
            apart = np.abs(there[kernels] - here[other])
            differ = f"{int(np.any(apart, axis=1).sum())} of {len(samples)}"
            print(f"| {core} | {kernels} | {other} | {differ} | {apart.max()} |", flush=True)


def _samples(artifact: Path, data: Path, most: int) -> list[list[bytes]]:
    """Samples as the artifact's one input stores them."""
    (spec,) = reader.parse(artifact.read_bytes(), artifact.name).inputs
    values = np.load(data)["x_eval"][:most].astype(np.float32)
    return [[stored(value, spec).tobytes()] for value in values]


def _outputs(where: str, artifact: Path, samples: Sequence[Sequence[bytes]], folder: Path) -> dict[Kernels, Any]:
    """What the artifact's output stores by kernel family, a row a sample, in int16 so that differences fit."""
    opened = open_place(place.parse(where), _LIMITS, folder, unheard)
    found = {}
    try:
        for kernels in Kernels:
            worker = opened.start(artifact, How(kernels))
            rows = [np.frombuffer(sample[0], np.int8) for sample in worker.outputs(samples)]
            found[kernels] = np.stack(rows).astype(np.int16)
            worker.close()
    finally:
        opened.close()
    return found


def _macs(artifact: Path) -> int:
    return sum(graph.macs for graph in inspect(artifact.read_bytes(), artifact.name).graphs)


if __name__ == "__main__":
    main()
