"""Biases of int16x8 networks that several operators share: each kernel gets them on its own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_keras
from making import IDENTITY

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.target import Kernels
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import biases
from edgebuild.passes import quantize
from edgebuild.passes.freeze import freeze
from edgebuild.passes.jobs import ARTIFACT, SAVED_MODEL, QuantizeJob
from edgebuild.passes.loading import from_keras_model
from edgebuild.runtimes.interpreters import load

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")
INT16 = Quantize(scheme=Scheme.INT16X8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)


def test_every_step_of_a_gru_adds_its_bias_on_its_own_scale(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Input((8, 3)), tf_keras.layers.GRU(6, bias_initializer="normal")])
    model.layers[0].set_weights([20 * w if w.shape == (2, 18) else w for w in model.layers[0].get_weights()])
    # Quiet at first and loud in the end, so that the states of the steps have different ranges.
    loudness = np.geomspace(0.05, 4, 8, dtype=np.float32)[:, None]
    x = np.random.default_rng(0).normal(size=(60, 8, 3)).astype(np.float32) * loudness
    save(Examples((x,), None), tmp_path / "split")
    frozen = freeze(from_keras_model(model), tmp_path, name="net")

    quantize.run(
        QuantizeJob(
            saved_model=str(tmp_path / SAVED_MODEL),
            calibration=str(tmp_path / "split"),
            preprocess=IDENTITY,
            quantize=INT16,
            network=frozen.network,
            out=str(tmp_path),
        ),
        lambda _: None,
    )

    data = (tmp_path / ARTIFACT).read_bytes()
    assert biases.unshared(data) == data
    assert [op.name for op in inspect(data, "net").graphs[0].operations].count("FULLY_CONNECTED") == 15
    interpreter = load(data, "net", Kernels.REFERENCE, threads=1)
    expected, found = np.asarray(model(x)), []
    for sample in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    noise = np.square(expected - np.stack(found)).sum()
    assert 10 * np.log10(np.square(expected).sum() / noise) > 30
