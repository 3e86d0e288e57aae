"""Names of tensors: each path once, and every operator still known by its layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from converting import converted
from running import on_litert

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.rewriting import ends
from edgebuild.passes.loading import from_keras_model
from edgebuild.readback import layers_of

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

INT8 = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)


def test_a_long_sequence_is_no_file_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [layers.Input((20, 3)), layers.Conv1D(4, 1, activation="relu", name="conv"), layers.SimpleRNN(3, name="rnn")]
    )
    x = np.random.default_rng(0).normal(size=(40, 20, 3)).astype(np.float32)
    network = from_keras_model(model)
    with monkeypatch.context() as patched:
        patched.setattr(ends, "names_shortened", lambda data: data)
        long = converted(network, [x], INT8, tmp_path / "long")

    short = converted(network, [x], INT8, tmp_path / "short")

    written = [_names(path) for path in (long, short)]
    assert sum(map(len, written[0])) > 20 * 20 * len("layer/rnn/unstack")
    assert sum(map(len, written[1])) < 7_000
    assert len(set(written[1])) == len(set(written[0])) == len(written[0])
    specs = [reader.read(path) for path in (long, short)]
    found = [[layers_of(each.tensor, ("conv", "rnn")) for each in spec.operators] for spec in specs]
    assert found[0] == found[1]
    assert {("conv",), ("rnn",)} <= set(found[0])
    assert [each.name for each in specs[1].outputs] == [each.name for each in specs[0].outputs]
    assert np.array_equal(on_litert(long, x), on_litert(short, x))
    assert ends.names_shortened(short.read_bytes()) == short.read_bytes()


def _names(path: Path) -> list[bytes]:
    return [tensor.name for tensor in schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0].tensors]
