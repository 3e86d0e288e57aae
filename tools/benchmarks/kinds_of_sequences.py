"""Recurrent networks of both Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tf_keras
from keras import layers as k3
from kinds_basics import CLASSES, KINDS, SAMPLES, STEPS, Made, classes, data, kind, rng, sequences, trained


def _recurrent(kit: Any, layer: Callable[[Any], Any]) -> Callable[[], Made]:
    def make() -> Made:
        layers = kit.layers
        model = kit.Sequential(
            [layers.Input((STEPS, 3)), layer(layers), layers.Dense(CLASSES, activation="softmax", name="kinds")]
        )
        return trained(model, data(classes(), x=sequences()))

    return make


_RECURRENT: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda kit: kit.LSTM(8),
    "gru": lambda kit: kit.GRU(8),
    "simple_rnn": lambda kit: kit.SimpleRNN(8),
    "bidirectional_lstm": lambda kit: kit.Bidirectional(kit.LSTM(6)),
    "bidirectional_gru": lambda kit: kit.Bidirectional(kit.GRU(6)),
    "backwards_lstm": lambda kit: kit.LSTM(8, go_backwards=True),
    "dropout_gru": lambda kit: kit.GRU(8, recurrent_dropout=0.2),
    "cells": lambda kit: kit.RNN(kit.StackedRNNCells([kit.GRUCell(6), kit.LSTMCell(6)])),
}
for _name, _layer in _RECURRENT.items():
    KINDS[_name] = _recurrent(keras, _layer)
    KINDS[f"{_name}_h5"] = _recurrent(tf_keras, _layer)


@kind
def _stacked_lstm() -> Made:
    layers = [k3.Input((STEPS, 3)), k3.LSTM(8, return_sequences=True), k3.LSTM(8), k3.Dense(CLASSES)]
    return keras.Sequential([*layers, k3.Softmax()]), data(classes(), x=sequences())


@kind
def _encoder_decoder() -> Made:
    x = k3.Input((STEPS, 3))
    _, h, c = k3.LSTM(6, return_state=True)(x)
    y = k3.LSTM(6, return_sequences=True)(x, initial_state=[h, c])
    return keras.Model(x, k3.Dense(2)(y)), data(x=sequences())


@kind
def _masked_text() -> Made:
    ids = rng().integers(1, 40, (SAMPLES, STEPS)).astype("i4")
    ids[:, 8:] = 0
    x = k3.Input((STEPS,), dtype="int32")
    h = k3.GRU(8)(k3.Embedding(40, 6, mask_zero=True)(x))
    return keras.Model(x, k3.Dense(CLASSES, activation="softmax")(h)), data(classes(), x=ids)


@kind
def _stateful_lstm() -> Made:
    x = k3.Input(batch_shape=(1, STEPS, 3))
    return keras.Model(x, k3.Dense(2)(k3.LSTM(6, stateful=True)(x))), data(x=sequences())


@kind
def _conv_lstm() -> Made:
    x = k3.Input((4, 8, 8, 1))
    h = k3.Flatten()(k3.ConvLSTM2D(4, 3)(x))
    frames = rng().normal(size=(SAMPLES, 4, 8, 8, 1)).astype("f4")
    return keras.Model(x, k3.Dense(2, activation="softmax")(h)), data(classes() % 2, x=frames)
