"""Channels whose requantization scales XNNPACK refuses: named in files, and kept out of what is built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_networks import TYPE, Network

from edgebuild.cli import run
from edgebuild.core.target import Kernels
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting.scales import bounded
from edgebuild.runtimes.same_outputs import SameOutputsJob, same_outputs

BUILTIN = schema.BuiltinOperator
INTERPRETED = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(sys.argv[2]))
interpreter.invoke()
np.save(sys.argv[2], interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
"""


def _dense(net: Network, given: int, name: str, weights: int, made_scale: float, **of: Any) -> int:
    """A dense layer of int8 whose channels have `scales`, and a bias of 0, 1 and -300 products."""
    scales = list(of["scales"])
    bias = np.asarray([0, 1, -300], np.int32)
    products = [of["given_scale"] * scale for scale in scales]
    added = net.tensor(
        f"{name}/bias", [3], TYPE.INT32, constant=True, data=list(bias.tobytes()), scale=products, zero_point=[0] * 3
    )
    made = net.tensor(name, [1, 3], TYPE.INT8, scale=[made_scale], zero_point=[of["zero_point"]])
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = of["activation"]
    net.operator(BUILTIN.FULLY_CONNECTED, [given, weights, added], [made], version=5, options=options)
    return made


def _network(path: Path, *, activation: int = 0, zero_point: int = 3, shared: bool = False) -> Path:
    """A layer of three channels; the second's requantization scale is 2048, that of the others is below 1."""
    net = Network()
    given = net.tensor("x", [1, 4], TYPE.INT8, scale=[0.5], zero_point=[-7])
    kernel = np.random.default_rng(0).integers(-3, 4, (3, 4)).astype(np.int8)
    scales = [0.01, 4096 * 0.02, 0.02]
    weights = net.tensor(
        "w", [3, 4], TYPE.INT8, constant=True, data=list(kernel.tobytes()), scale=scales, zero_point=[0] * 3
    )
    of = {"scales": scales, "given_scale": 0.5, "activation": activation, "zero_point": zero_point}
    ends = [_dense(net, given, "nearly_dead/BiasAdd", weights, 0.02, **of)]
    if shared:  # the same weights, behind which the scale is within the limit
        ends.append(_dense(net, given, "wide/BiasAdd", weights, 10.0, **of))
    return net.write(path, [given], ends)


@pytest.mark.parametrize(("activation", "zero_point"), [(0, 3), (0, -128), (0, 127), (1, -128), (3, -50)])
def test_scales_are_brought_within_the_limit_and_no_output_changes(
    activation: int, zero_point: int, tmp_path: Path
) -> None:
    before = _network(tmp_path / "before.tflite", activation=activation, zero_point=zero_point)
    assert [warning.partition(";")[0] for warning in inspect(before.read_bytes(), "net").warnings] == [
        "FULLY_CONNECTED (operator 0, nearly_dead/BiasAdd): the requantization scale of channel 1 is 2048.0"
    ]
    after = tmp_path / "after.tflite"
    after.write_bytes(bounded(before.read_bytes()))
    assert inspect(after.read_bytes(), "net").warnings == ()
    job = SameOutputsJob(artifact=str(before), other=str(after), most_samples=64, kernels=Kernels.REFERENCE)
    assert same_outputs(job, lambda _: None).differing == 0
    x = np.random.default_rng(1).integers(-128, 128, (1, 4)).astype(np.int8)
    outputs = []
    for path in (before, after):
        kept = tmp_path / f"{path.stem}.npy"
        np.save(kept, x)
        # A child: what XNNPACK refuses may end the process.
        done = subprocess.run(
            [sys.executable, "-c", INTERPRETED, path, kept], check=False, capture_output=True, text=True
        )
        outputs.append(done.returncode)
    assert (outputs[0] != 0, outputs[1]) == (True, 0)


def test_weights_that_another_operator_reads_as_well_keep_their_scales_there(tmp_path: Path) -> None:
    before = _network(tmp_path / "before.tflite", shared=True)
    after = tmp_path / "after.tflite"
    after.write_bytes(bounded(before.read_bytes()))
    (graph,) = inspect(after.read_bytes(), "net").graphs
    first, second = (graph.tensors[operation.inputs[1]] for operation in graph.operations)
    assert first.buffer == second.buffer
    assert first.quantization is not None
    assert second.quantization is not None
    assert first.quantization.scales[1] == pytest.approx(255.5 * 0.02 / 0.5)
    assert second.quantization.scales[1] == pytest.approx(4096 * 0.02)
    job = SameOutputsJob(artifact=str(before), other=str(after), most_samples=64, kernels=Kernels.REFERENCE)
    assert same_outputs(job, lambda _: None).differing == 0


def test_a_file_within_the_limit_stays_as_it_is(tmp_path: Path) -> None:
    sound = bounded(_network(tmp_path / "net.tflite").read_bytes())
    assert bounded(sound) == sound


def test_inspect_warns_and_bench_does_not_run_it_but_on_kernels_that_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBUILD_STORE", str(tmp_path / "store"))
    path = str(_network(tmp_path / "net.tflite"))
    assert run(["inspect", path]) == 0
    shown = capsys.readouterr().out
    assert (
        "warning     FULLY_CONNECTED (operator 0, nearly_dead/BiasAdd): the requantization scale of channel 1" in shown
    )
    assert run(["inspect", path, "--strict"]) == 4
    assert run(["bench", path]) == 4
    said = capsys.readouterr().err
    assert "net.tflite is not run on xnnpack kernels, which refuse it" in said
    assert "XNNPACK takes less than 256" in said
    assert "edgebuild bench --kernels builtin" in said
    assert run(["bench", path, "--kernels", "builtin", "--time", "100 ms", "--quiet"]) in (0, 5)
    assert "latency" in capsys.readouterr().out
