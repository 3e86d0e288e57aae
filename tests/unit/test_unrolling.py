"""Layers that step through a sequence: written out or fused, the same outputs, and no loop left for the converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras
from converting import converted
from running import on_litert, sqnr_db

from edgebuild.actions import networks
from edgebuild.core.passes import DType, Quantize, Recurrent, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes import unrolling
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import from_keras_model

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

INT8 = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)
KITS = pytest.mark.parametrize(
    "kit", [keras, pytest.param(tf_keras, marks=pytest.mark.slow)], ids=["keras3", "tf_keras"]
)


def _many(kit: Any) -> Any:
    """A network with recurrent layers of many kinds, in wrappers and a nested model."""
    kl = kit.layers
    rows = kl.Input((4, 3))
    nested_in = kl.Input((4, 5))
    nested = kit.Model(nested_in, kl.SimpleRNN(3, go_backwards=True, name="back")(nested_in), name="nested")
    x, state, _ = kl.LSTM(5, return_sequences=True, return_state=True, dropout=0.2, recurrent_dropout=0.1)(rows)
    x = kl.GRU(5, return_sequences=True, name="gru")(x, initial_state=state)
    ends = [
        nested(x),
        kl.Bidirectional(kl.LSTM(2))(x),
        kl.RNN(kl.StackedRNNCells([kl.GRUCell(2), kl.LSTMCell(2)]))(x),
        kl.Flatten()(kl.ConvLSTM1D(2, 2)(kl.Reshape((4, 5, 1))(x))),
    ]
    return kit.Model(rows, kl.Dense(3)(kl.Concatenate()(ends)))


@pytest.mark.slow
@KITS
def test_all_kinds_are_written_out_and_compute_the_same(kit: Any, tmp_path: Path) -> None:
    frozen = freeze(from_keras_model(_many(kit)), tmp_path, name="net")  # which proves the outputs equal

    assert frozen.loops == ()
    assert frozen.batched
    assert frozen.network.streams == ()
    assert all(loop.steps == 4 for loop in frozen.unrolled)
    assert {"gru", "back"} <= {loop.layer for loop in frozen.unrolled}
    assert len(frozen.unrolled) == 7  # a Bidirectional layer has two


def test_a_gru_of_tf_keras_that_resets_before_computes_in_integers(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    kl = tf_keras.layers
    model = tf_keras.Sequential([kl.Input((3, 3)), kl.GRU(4, reset_after=False), kl.Dense(2)])
    x = np.random.default_rng(0).normal(size=(60, 3, 3)).astype(np.float32)
    micro = Quantize(scheme=Scheme.INT8, input=DType.INT8, output=DType.INT8, float_fallback=False)

    path = converted(from_keras_model(model), [x], micro, tmp_path / "net")

    assert not [operator.name for operator in reader.read(path).operators if "float32" in operator.dtypes]
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 20


@KITS
def test_networks_that_ended_the_converter_run_in_int8(kit: Any, tmp_path: Path) -> None:
    kit.utils.set_random_seed(0)
    kl = kit.layers
    model = kit.Sequential([kl.Input((4, 3)), kl.GRU(4, return_sequences=True), kl.SimpleRNN(3)])
    x = np.random.default_rng(0).normal(size=(60, 4, 3)).astype(np.float32)
    expected = np.asarray(model(x))

    path = converted(from_keras_model(model), [x], INT8, tmp_path / "net")

    assert sqnr_db(expected, on_litert(path, x)) > 20


@KITS
def test_a_stateful_network_carries_its_state_in_the_artifact(kit: Any, tmp_path: Path) -> None:
    kit.utils.set_random_seed(0)
    kl = kit.layers
    given = kl.Input(batch_shape=(1, 3, 2))
    model = kit.Model(given, kl.GRU(4, stateful=True, name="stream")(given))
    x = np.random.default_rng(0).normal(size=(60, 3, 2)).astype(np.float32)
    expected = np.concatenate([np.asarray(model(x[row : row + 1])) for row in range(60)])
    alone = np.asarray(model(x[:1]))  # from another state
    assert np.abs(alone - expected[:1]).max() > 0.01

    network = from_keras_model(model)
    assert unrolling.stateful(model) == ["stream"]
    path = converted(network, [x], INT8, tmp_path / "net")

    assert sqnr_db(expected, on_litert(path, x)) > 20


@KITS
def test_longer_sequences_stay_loops_unless_all_are_asked_for(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrolling, "MOST_STEPS", 5)
    kl = kit.layers
    model = kit.Sequential([kl.Input((6, 2)), kl.SimpleRNN(2, name="long")])

    left = freeze(from_keras_model(model), tmp_path / "left", name="net")
    forced = freeze(from_keras_model(model), tmp_path / "forced", name="net", recurrent=Recurrent.UNROLLED)

    assert left.loops == (networks.Loop(layer="long", steps=6),)
    assert left.unrolled == ()
    assert forced.unrolled == (networks.Loop(layer="long", steps=6),)
    assert forced.loops == ()
