"""Firmware of a network that keeps state checks itself by two samples in a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_emitted_cpp import HOST, _compile, _run, _write

from edgebuild.actions.runtimes import SampleJob
from edgebuild.core.delivery import Vector
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.flatbuffer import reader
from edgebuild.runtimes.tflm import wheel, worker
from edgebuild.runtimes.tflm.interpreter import Micro

AS_THEY_ARE = Preprocess(scale=1.0, mean=0.0)


@pytest.fixture
def lstm(assets: Path) -> Path:
    return assets / "tflm" / "trained_lstm_int8.tflite"


@pytest.mark.skipif(wheel.version() is None, reason=f"there is no tflite-micro: {wheel.INSTALL}")
@pytest.mark.parametrize("streams", [False, True])
def test_the_second_sample_is_run_as_firmware_runs_it(lstm: Path, tmp_path: Path, *, streams: bool) -> None:
    spec = reader.read(lstm)
    x = np.random.default_rng(0).normal(0, 0.1, (2, 28, 28)).astype(np.float32)
    save(Examples((x,), None), tmp_path / "split")
    job = SampleJob(
        artifact=str(lstm), spec=spec, samples=str(tmp_path / "split"), preprocess=AS_THEY_ARE, row=0, streams=streams
    )

    first = worker.sample(job, lambda _: None)

    following = first.following
    assert isinstance(following, Vector)
    assert following.inputs != first.inputs
    alone = Micro(lstm)
    alone.run([np.frombuffer(following.inputs[0], np.int8).reshape(1, 28, 28)])
    assert (following.outputs[0] == alone.output(0).tobytes()) is not streams


@pytest.mark.skipif(HOST is None, reason="there is no g++ (apt-get install g++)")
@pytest.mark.parametrize("streams", [False, True])
def test_the_example_runs_both_samples_and_resets_between_independent_ones(
    lstm: Path, tmp_path: Path, *, streams: bool
) -> None:
    spec = reader.read(lstm)
    rng = np.random.default_rng(0)
    first, following = (rng.integers(-128, 128, 28 * 28).astype(np.int8).tobytes() for _ in range(2))
    held = bytes(range(10))
    firmware = Firmware(
        name="net",
        data=lstm.read_bytes(),
        spec=spec,
        arena_bytes=20_000,
        preprocess=AS_THEY_ARE,
        vector=Vector(
            inputs=(first,), outputs=(held,), following=Vector(inputs=(following,), outputs=(held[:9] + b"\x00",))
        ),
        streams=streams,
    )
    folder = _write(firmware, tmp_path)

    _compile(HOST, folder, "example.cc", "net_model.cc", "-o", "program")
    (folder / "output0.bin").write_bytes(held)
    ran = _run(folder)

    assert ran.returncode == 1  # the second sample's output is not what was kept for it; the first one's is
    assert (folder / "input0.bin").read_bytes()[: 28 * 28] == following
    assert (folder / "example.cc").read_text().count("interpreter->Reset()") == (0 if streams else 2)
    assert "two samples in a row" in (folder / "README.md").read_text()
