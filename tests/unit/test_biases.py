"""Biases of int16x8 networks that several operators share: each kernel gets them on its own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_keras
from ai_edge_litert.interpreter import OpResolverType
from converting import converted
from running import on_litert, sqnr_db

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import scales
from edgebuild.passes.loading import from_keras_model

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")
INT16 = Quantize(scheme=Scheme.INT16X8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)


def test_every_step_of_a_gru_adds_its_bias_on_its_own_scale(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Input((8, 3)), tf_keras.layers.GRU(6, bias_initializer="normal")])
    model.layers[0].set_weights([20 * w if w.shape == (2, 18) else w for w in model.layers[0].get_weights()])
    # Quiet at first and loud in the end, so that the states of the steps have different ranges.
    loudness = np.geomspace(0.05, 4, 8, dtype=np.float32)[:, None]
    x = np.random.default_rng(0).normal(size=(60, 8, 3)).astype(np.float32) * loudness

    path = converted(from_keras_model(model), [x], INT16, tmp_path / "net")

    data = path.read_bytes()
    assert scales.unshared(data) == data
    assert [op.name for op in inspect(data, "net").graphs[0].operations].count("FULLY_CONNECTED") == 15
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x, OpResolverType.BUILTIN_REF)) > 30
