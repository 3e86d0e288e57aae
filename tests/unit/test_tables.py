"""Lookup layers: the same results as Keras for every number, or refused with a remedy that works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from converting import converted
from making import INT8

from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import from_keras_model
from edgebuild.runtimes.tflm import wheel

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated"),
]


@pytest.mark.parametrize("made_in", [tf_keras, keras], ids=["tf_keras", "keras 3"])
@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_whole_numbers_are_looked_up_as_keras_does_it(made_in: Any, mode: str) -> None:
    layers = made_in.layers
    width = 1 if mode == "one_hot" else 3
    codes = layers.Input((width,), dtype="int64", name="codes")
    options = {"mask_token": 5} if mode == "int" else {}
    model = made_in.Model(codes, layers.IntegerLookup(vocabulary=[-7, 11, 19], output_mode=mode, **options)(codes))
    given = np.array([-(2**40), -8, -7, -6, 0, 5, 10, 11, 12, 19, 20, 2**40])[:, None]
    given = np.concatenate([np.roll(given, shift) for shift in range(width)], 1)
    (found,) = tf.function(from_keras_model(model).call)(tf.constant(given))
    expected = np.asarray(model(given))
    assert found.dtype.name in (str(expected.dtype), tf.as_dtype(model.outputs[0].dtype).name)
    assert np.array_equal(found, expected)


def test_a_lookup_is_converted_without_a_table(tmp_path: Path) -> None:
    layers = keras.layers
    codes, values = layers.Input((1,), dtype="int64", name="codes"), layers.Input((4,), name="values")
    encoded = layers.IntegerLookup(vocabulary=[7, 11, 19], output_mode="one_hot")(codes)
    model = keras.Model([codes, values], layers.Dense(3)(layers.Concatenate()([encoded, values])))
    rng = np.random.default_rng(0)
    samples = [rng.choice([7, 11, 19, 4], (20, 1)), rng.normal(size=(20, 4)).astype(np.float32)]
    path = converted(from_keras_model(model), samples, INT8, tmp_path / "out")
    operators = reader.read(path).operators
    assert "GATHER" in {operator.name for operator in operators}
    assert not [operator.name for operator in operators if "HASHTABLE" in operator.name or ":" in operator.name]
    # What microcontrollers and NPUs take: the rows are of the target's integers, as all that is computed with them.
    assert not [operator.name for operator in operators if "float32" in operator.dtypes]
    if wheel.version():
        from edgebuild.runtimes.tflm.interpreter import Micro

        Micro(path).run_zeros()


def _words() -> Any:
    return keras.layers.Input((1,), dtype="string"), keras.layers.StringLookup(vocabulary=["a", "b"], name="word")


def _wide() -> Any:
    return keras.layers.Input((1,), dtype="int64"), keras.layers.IntegerLookup(vocabulary=[1, 10**12], name="word")


def _hashed() -> Any:
    return keras.layers.Input((1,), dtype="int64"), keras.layers.Hashing(5, name="word")


@pytest.mark.parametrize("make", [_words, _wide, _hashed])
def test_a_lookup_that_needs_a_table_is_refused_and_the_remedy_works(make: Any, tmp_path: Path) -> None:
    given, layer = make()
    embedding, dense = keras.layers.Embedding(9, 4), keras.layers.Dense(2)

    def rest(codes: Any) -> Any:
        return dense(keras.layers.Flatten()(embedding(codes)))

    whole = keras.Model(given, rest(layer(given)))
    with pytest.raises(StepError, match=r"layer word \(\w+\) looks its input up") as caught:
        from_keras_model(whole)
    assert "before the network" in caught.value.remedy
    data = np.array([["a"], ["b"], ["c"]]) if given.dtype == "string" else np.array([[1], [3], [10**12]])
    codes = np.asarray(keras.Model(given, layer(given))(tf.constant(data)))
    behind = keras.layers.Input((1,), dtype="int64")
    network = from_keras_model(keras.Model(behind, rest(behind)))
    assert np.allclose(network.call(tf.constant(codes))[0], np.asarray(whole(tf.constant(data))), atol=1e-6)
    freeze(network, tmp_path, name="net")
