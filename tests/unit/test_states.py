"""Artifacts that keep state: scored as an interpreter runs by itself, and what firmware is given to deal with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from converting import converted
from making import ACCURACY, IDENTITY

from edgebuild.actions.conversion import ARTIFACT
from edgebuild.actions.scores import ScoreJob
from edgebuild.core.delivery import Layout
from edgebuild.core.passes import DType, Quantize, Recurrent, Scheme
from edgebuild.core.target import Kernels
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.data.scored import kept_outputs
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.package import package
from edgebuild.flatbuffer import reader
from edgebuild.passes import quantize
from edgebuild.passes.loading import from_keras_model
from edgebuild.runtimes import litert
from edgebuild.runtimes.tflm import worker as tflm

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")

INT8 = Quantize(
    scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False, recurrent=Recurrent.FUSED
)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM as one operator, whose state outlasts an inference, beside a split of samples."""
    folder = tmp_path_factory.mktemp("fused")
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Input((4, 3)), tf_keras.layers.LSTM(4), tf_keras.layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(40, 4, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quantize, "MENDED", ())  # as others convert it
        converted(from_keras_model(model), [x], INT8, folder / "net")
    save(Examples((x,), np.asarray(model(x)).argmax(axis=1)), folder / "net" / "labelled")
    return folder / "net"


def _outputs(evaluate: Any, fused: Path, out: Path, *, resets: bool) -> Any:
    out.mkdir()
    job = ScoreJob(
        artifact=str(fused / ARTIFACT),
        spec=reader.read(fused / ARTIFACT),
        kernels=Kernels.REFERENCE,
        samples=str(fused / "labelled"),
        preprocess=IDENTITY,
        metric=ACCURACY,
        out=str(out),
        resets=resets,
    )
    evaluate(job, lambda _: None)
    return kept_outputs(out)


@pytest.mark.parametrize("evaluate", [litert.evaluate, tflm.evaluate], ids=["litert", "tflm"])
def test_state_is_carried_over_as_in_use_unless_it_is_to_be_reset(evaluate: Any, fused: Path, tmp_path: Path) -> None:
    in_use = _outputs(evaluate, fused, tmp_path / "in_use", resets=False)
    reset = _outputs(evaluate, fused, tmp_path / "reset", resets=True)

    assert reader.read(fused / ARTIFACT).keeps_state
    assert np.array_equal(in_use[0], reset[0])
    assert not np.array_equal(in_use[1:], reset[1:])


@pytest.mark.parametrize("streams", [False, True])
def test_firmware_resets_state_before_each_independent_input(fused: Path, *, streams: bool) -> None:
    firmware = Firmware(
        name="net",
        data=(fused / ARTIFACT).read_bytes(),
        spec=reader.read(fused / ARTIFACT),
        arena_bytes=None,
        preprocess=IDENTITY,
        streams=streams,
    )

    files = {file.path: file.content.decode() for file in package(firmware, Layout.PLAIN)}

    assert ("interpreter->Reset()" in files["example.cc"]) is not streams
    assert "## State" in files["README.md"]
    assert ("streaming model" in files["README.md"]) is streams
