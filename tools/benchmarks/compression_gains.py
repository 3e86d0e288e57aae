"""What default settings gain: trained networks built with and without compression, scored on samples no build saw.

    ./tools/run python tools/benchmarks/compression_gains.py --work FOLDER [--only NAME ...] [--time TIME]

Networks are trained once (seeded) and kept in the folder, and so is each row's result: a run that was stopped goes on.
Students get a minute, and are compared with the same network trained alone for five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgebuild import host

_HERE = Path(__file__).parent
_STUDENT_TIME, _ALONE_S = "60s", 300.0


class Row(NamedTuple):
    """One network for one target; `student` is what --set says of it."""

    network: str
    target: str
    student: str = ""

    @property
    def name(self) -> str:
        """As --only takes it."""
        return "-".join(filter(None, (self.network, self.target, self.student.partition("=")[2].rstrip("%"))))


_NETWORKS = ("resnet", "mobilenet", "vgg", "digits", "memorised", "barely-trained", "norm-after-relu", "few-samples")
ROWS = (
    Row("kws", "mcu"),
    *(Row(network, target) for network in _NETWORKS for target in ("mcu", "arm64")),
    Row("vgg", "mcu", "passes.student.network=student-mobilenet"),
    Row("resnet", "mcu", "passes.student.network=small-resnet"),
    Row("resnet", "mcu", "passes.student.width=50%"),
)


def main() -> None:
    """Build every row that is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[row.name for row in ROWS])
    parser.add_argument("--time", default="", help="for training, in place of the default")
    default = os.environ.get("EDGEBUILD_ASSETS", str(_HERE.parents[2] / "shared" / "assets"))
    parser.add_argument("--assets", type=Path, default=Path(default))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    chosen = [row for row in ROWS if row.name in arguments.only]
    results = {row: _result(row, arguments) for row in chosen}
    print(f"{host.describe()}; tensorflow {version('tensorflow')}, edgebuild {version('edgebuild')}\n")
    for part in (_gains(results), _students(results), _notes(results)):
        print("\n".join(part), end="\n\n")


def _result(row: Row, arguments: Any) -> dict[str, Any]:
    kept = arguments.work / f"{row.name}{arguments.time}.json"
    if not kept.is_file():
        found = {"plain": _build(row, arguments, ["--no-compress"]), "compressed": _build(row, arguments, [])}
        if row.student:
            found["alone"] = _alone(row, arguments)
        beside = kept.with_suffix(".new")
        beside.write_text(json.dumps(found))
        beside.replace(kept)
    return dict(json.loads(kept.read_text()))


def _made(name: str, arguments: Any) -> Path:
    """A network of gains_networks.py or the embedded example, trained where it is not there yet."""
    path: Path = arguments.work / f"{name}.h5"
    if not path.is_file():
        mnist = arguments.assets / "mnist" / "mnist.npz"
        subprocess.run([sys.executable, _HERE / "gains_networks.py", name, mnist, arguments.work], check=True)
    return path


def _model_and_data(row: Row, arguments: Any) -> tuple[list[str], Path | None]:
    """The arguments that name network and data, and the file of samples held out; None where evaluation has to do."""
    if row.network == "kws":
        return [str(arguments.assets / "kws" / "saved_model"), "-d", str(arguments.assets / "kws" / "kws.npz")], None
    if row.network == "digits":
        return [], None
    path = _made(row.network, arguments)
    return [str(path), "-d", str(path.with_suffix(".npz"))], path.with_suffix(".held.npz")


def _build(row: Row, arguments: Any, options: list[str]) -> dict[str, Any]:
    given, held = _model_and_data(row, arguments)
    out = arguments.work / "dist" / ("plain" if options else "compressed") / row.name
    length = _STUDENT_TIME if row.student else arguments.time
    if row.student and not options:
        key, _, value = row.student.partition("=")
        value = str(_made(value, arguments)) if key.endswith("network") else value
        options = ["--set", f"{key}={value}", "--set", "passes.channels=off"]
    options = [*options, *(("--time", length) if length else ())]
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "edgebuild", *given, "-t", row.target, "--out", str(out), "--json", *options],
        cwd=arguments.work,
        env={**os.environ, "EDGEBUILD_STORE": str(arguments.work / "store"), "EDGEBUILD_HISTORY": "off"},
        stdout=subprocess.PIPE,
        check=False,
    )
    if ran.returncode not in (0, 1):
        sys.exit(f"{row.name} failed with exit code {ran.returncode}")
    manifest = json.loads(ran.stdout)[0]
    artifact = out / row.target / manifest["artifact"]["path"]
    score = _score(artifact, held) if held is not None else manifest["accuracy"]["artifact"]
    before = (
        _score_of_float(held.with_suffix("").with_suffix(".h5"), held) if held else manifest["accuracy"]["baseline"]
    )
    return {"manifest": manifest, "score": score, "float": before, "seconds": time.monotonic() - started}


def _score(artifact: Path, held: Path) -> float:
    """The share of right predictions of an artifact on samples held out, as anyone runs it."""
    interpreter = Interpreter(str(artifact))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    with np.load(held) as data:
        x, y = data["x"], data["y"]
    right = 0
    for sample, label in zip(x, y, strict=True):
        stored = np.clip(np.rint(sample / scale) + zero, -128, 127).astype(np.int8) if scale else sample
        interpreter.set_tensor(given["index"], stored[np.newaxis].astype(given["dtype"]))
        interpreter.invoke()
        right += int(interpreter.get_tensor(made["index"])[0].argmax() == label)
    return right / len(y)


def _score_of_float(model: Path, held: Path) -> float:
    ran = subprocess.run(
        [sys.executable, _HERE / "trained_alone.py", model, held], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(ran.stdout)


def _alone(row: Row, arguments: Any) -> float:
    """What the same student reaches in five minutes without a teacher, in float."""
    value = row.student.partition("=")[2]
    model, held = _made(row.network, arguments), _made(row.network, arguments).with_suffix(".held.npz")
    student = model if value.endswith("%") else _made(value, arguments)
    width = str(float(value[:-1]) / 100) if value.endswith("%") else "1"
    command = [sys.executable, _HERE / "trained_alone.py", student, held, "--train", model.with_suffix(".npz")]
    ran = subprocess.run(
        [*command, "--time", str(_ALONE_S), "--width", width], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(ran.stdout)


def _gains(results: dict[Row, dict[str, Any]]) -> Iterator[str]:
    yield "| network | target | float | int8 | compressed | MACs | file | gzip | build |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row, found in results.items():
        if row.student:
            continue
        plain, made = found["plain"], found["compressed"]
        files = [item["manifest"]["artifact"] for item in (plain, made)]
        macs = [sum(op["macs"] for op in item["manifest"]["network"]["operators"]) for item in (plain, made)]
        shares = [macs[1] / macs[0], *(files[1][key] / files[0][key] for key in ("size_bytes", "size_gzip_bytes"))]
        cells = [f"{made['float']:.2%}", f"{plain['score']:.2%}", f"{made['score']:.2%}", f"{shares[0]:.1%}"]
        cells += [f"{files[1]['size_bytes']:,} ({shares[1]:.2f})", f"{shares[2]:.2f}", f"{made['seconds']:.0f} s"]
        yield f"| {row.network} | {row.target} | {' | '.join(cells)} |"


def _students(results: dict[Row, dict[str, Any]]) -> Iterator[str]:
    students = {row: found for row, found in results.items() if row.student}
    if students:
        yield "| teacher | student | teacher's accuracy | student, 60 s, int8 | alone, 5 min, float |"
        yield "| --- | --- | ---: | ---: | ---: |"
    for row, found in students.items():
        made = found["compressed"]
        cells = f"{made['float']:.2%} | {made['score']:.2%} | {found['alone']:.2%}"
        yield f"| {row.network} | {row.student.partition('=')[2]} | {cells} |"


def _notes(results: dict[Row, dict[str, Any]]) -> Iterator[str]:
    for row, found in results.items():
        told = ("revert", "gained nothing", "of the macs is left", "student:", "most likely learnt", "time was enough")
        for note in found["compressed"]["manifest"]["notes"]:
            if any(part in note for part in told):
                yield f"- {row.name}: {note.partition(': ')[2]}"


if __name__ == "__main__":
    main()
