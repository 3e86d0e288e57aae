"""LSTMs as one operator: what every runtime makes of them, sample after sample, without anyone resetting anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest
import tf_keras
from ai_edge_litert.interpreter import OpResolverType
from converting import converted
from running import on_litert, on_tflm, sqnr_db

from edgebuild.core.passes import DType, Quantize, Recurrent, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import from_keras_model, load

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

INT8 = Quantize(
    scheme=Scheme.INT8,
    input=DType.FLOAT32,
    output=DType.FLOAT32,
    float_fallback=False,
    recurrent=Recurrent.FUSED,
)
KITS = pytest.mark.parametrize(
    "kit", [keras, pytest.param(tf_keras, marks=pytest.mark.slow)], ids=["keras3", "tf_keras"]
)


def _tagger(kit: Any, steps: int = 12) -> Any:
    """Sequences from both directions, on to both directions again, to an answer: grids differ everywhere between."""
    kit.utils.set_random_seed(0)
    kl = kit.layers
    given = kl.Input((steps, 3))
    x = kl.Bidirectional(kl.LSTM(6, return_sequences=True))(given)
    x = kl.Bidirectional(kl.LSTM(5))(x)
    return kit.Model(given, kl.Dense(4)(kl.Concatenate()([x, kl.LSTM(4, go_backwards=True)(given)])))


def _samples(steps: int = 12) -> Any:
    return np.random.default_rng(0).normal(size=(40, steps, 3)).astype(np.float32)


@KITS
def test_every_runtime_gives_the_networks_outputs_from_first_to_last(kit: Any, tmp_path: Path) -> None:
    model, x = _tagger(kit), _samples()
    expected = np.asarray(model(x))

    path = converted(from_keras_model(model), [x], INT8, tmp_path / "net")

    spec = reader.read(path)
    assert [each.name for each in spec.operators].count("UNIDIRECTIONAL_SEQUENCE_LSTM") == 5
    assert not spec.keeps_state
    resolvers = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF)
    found = [on_litert(path, x, resolver) for resolver in resolvers]
    for outputs in (*found, on_tflm(path, x)):
        assert sqnr_db(expected, outputs) > 24
    again = on_litert(path, [*x[5:10], *x[:5]])
    assert np.array_equal(again, np.concatenate([found[0][5:10], found[0][:5]]))


@KITS
@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(Scheme.FLOAT32, marks=pytest.mark.slow),
        Scheme.DYNAMIC,
        pytest.param(Scheme.FLOAT16, marks=pytest.mark.slow),
    ],
)
def test_floats_forget_as_well(kit: Any, scheme: Scheme, tmp_path: Path) -> None:
    kit.utils.set_random_seed(0)
    model = kit.Sequential([kit.layers.Input((12, 3)), kit.layers.LSTM(40), kit.layers.Dense(3)])
    x = _samples()

    path = converted(from_keras_model(model), [x], msgspec.structs.replace(INT8, scheme=scheme), tmp_path / "net")

    assert not reader.read(path).keeps_state
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 30


def test_an_exported_lstm_forgets_too(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Input((12, 3)), tf_keras.layers.LSTM(6), tf_keras.layers.Dense(2)])
    x = _samples()
    model.export(tmp_path / "exported")  # its layers are not known any more: the converter finds the LSTM by itself

    network = load("folder", str(tmp_path / "exported"), signature="", allow_code=False)
    path = converted(network, [x], INT8, tmp_path / "net")

    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in {operator.name for operator in reader.read(path).operators}
    assert not reader.read(path).keeps_state
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 24


@pytest.mark.slow
def test_a_sequence_may_be_longer_than_any_that_is_written_out(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Input((500, 3)), tf_keras.layers.LSTM(6), tf_keras.layers.Dense(2)])
    x = _samples(500)

    path = converted(from_keras_model(model), [x], INT8, tmp_path / "net")

    assert path.stat().st_size < 10_000
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 24


@KITS
def test_what_the_operator_does_not_know_is_written_out(kit: Any, tmp_path: Path) -> None:
    kl = kit.layers
    given = kl.Input((4, 3))
    x = kl.LSTM(4, return_sequences=True, name="plain")(given)
    x, *state = kl.LSTM(4, return_sequences=True, return_state=True, name="handing_on")(x)
    x = kl.LSTM(4, return_sequences=True, name="handed")(x, initial_state=state)
    x = kl.LSTM(4, return_sequences=True, activation="relu", name="other")(x)
    model = kit.Model(given, kl.LSTM(4, name="masked")(kl.Masking()(x)))

    frozen = freeze(from_keras_model(model), tmp_path, name="net", recurrent=Recurrent.FUSED)

    assert [loop.layer for loop in frozen.fused] == ["plain"]
    assert [loop.layer for loop in frozen.unrolled] == ["handing_on", "handed", "other", "masked"]
    assert frozen.loops == ()
