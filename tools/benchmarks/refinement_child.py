"""One conversion to int8, timed: python refinement_child.py plain|refined MODEL DATA FOLDER.

Does what a build's child does, on the same files: `plain` freezes the network and converts it; `refined` carries it
over, equalizes, calibrates and converts. DATA holds x_calibration, x_eval and scale. Prints JSON: wall and processor
seconds of each step, the peak of resident memory, and the SQNR of the outputs on x_eval. Whatever edgebuild PYTHONPATH
names is measured.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgebuild import targets
from edgebuild.actions import compression, conversion, networks
from edgebuild.core.passes import Calibrate, DType, Equalize, Quantize, Scheme
from edgebuild.core.settings import Preprocess
from edgebuild.data import samples
from edgebuild.data.given import Examples
from edgebuild.execution.serving import JOBS

_SEED = 0
_INT8 = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
_FLOAT = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)


class Timed:
    """Runs jobs of the table one after another, each in a folder of its own, and keeps their seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.wall_s: dict[str, float] = {}
        self.processor_s: dict[str, float] = {}

    def run(self, name: str, job: Any, **settings: Any) -> tuple[Any, Path]:
        """The result of a job, and its folder."""
        out = self._folder / f"{name}-{len(self.wall_s)}"
        out.mkdir(parents=True)
        started, busy = time.perf_counter(), time.process_time()
        result = JOBS[name].run(job(out=str(out), **settings), lambda text: None)
        self.wall_s[out.name] = time.perf_counter() - started
        self.processor_s[out.name] = time.process_time() - busy
        return result, out


def main(mode: str, model: str, data: str, folder: str) -> None:
    """Convert once and print what it took."""
    out = Path(folder)
    out.mkdir(exist_ok=True)
    given = np.load(data)
    samples.save(Examples((given["x_calibration"],), None), out / "calibration")
    timed = Timed(out)
    kind = "folder" if Path(model).is_dir() else "file"
    loading = {"kind": kind, "path": model, "input_shape": (), "signature": "", "allow_code": False}
    seen = {"calibration": str(out / "calibration"), "preprocess": Preprocess(mean=0.0, scale=float(given["scale"]))}
    as_it_is = timed.run("freeze", networks.FreezeJob, **loading)
    (frozen, at), notes = _refined(timed, loading, seen) if mode == "refined" else (as_it_is, [])
    artifact = _converted(timed, frozen, at, _INT8, **seen)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    exact = _converted(timed, *as_it_is, _FLOAT, **{**seen, "calibration": ""})
    x = (given["x_eval"] * given["scale"]).astype(np.float32)
    wanted, found = (_outputs(each / conversion.ARTIFACT, x) for each in (exact, artifact))
    noise = np.sum((found.astype(np.float64) - wanted) ** 2)
    sqnr_db = 10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / max(noise, 1e-30))
    took = {"wall_s": timed.wall_s, "processor_s": timed.processor_s, "peak": peak}
    changed = int(np.count_nonzero(wanted.argmax(-1) != found.argmax(-1)))
    print(json.dumps({**took, "sqnr_db": float(sqnr_db), "changed": changed, "notes": notes}))


def _refined(timed: Timed, loading: dict[str, Any], seen: dict[str, Any]) -> tuple[tuple[Any, Path], list[str]]:
    """The network after both refinements as what was frozen of it, its folder, and what they noted."""
    notes: list[str] = []
    made, carried = timed.run("carry", networks.CarryJob, **loading)
    network = carried
    for name, settings in (("equalize", Equalize), ("calibrate", Calibrate)):
        made, network = timed.run(
            name,
            compression.CompressJob,
            settings=targets.default_pass(settings),
            network=str(network / networks.NETWORK),
            original=str(carried / networks.NETWORK),
            lesson=None,
            latencies=None,
            float_layers=(),
            seed=_SEED,
            **seen,
        )
        notes += made.notes
    return (made.frozen, network), notes


def _converted(timed: Timed, frozen: Any, at: Path, quantize: Quantize, **seen: Any) -> Path:
    """The folder of the artifact that is made of a frozen network."""
    saved, network = str(at / networks.SAVED_MODEL), frozen.network
    _, out = timed.run(
        "quantize", conversion.QuantizeJob, saved_model=saved, quantize=quantize, network=network, **seen
    )
    return out


def _outputs(path: Path, x: Any) -> Any:
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for sample in x:
        interpreter.set_tensor(source, sample[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(sink)[0].copy())
    return np.stack(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
