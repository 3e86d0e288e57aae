"""Networks carried over to tf_keras: their structure, what is refused, the proof of it, and files of graphs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers as k3, ops
from keras_networks import IMAGE, ROWS, Make, kinds, network, require_same, shaken

from edgebuild.actions.networks import NETWORK, CarryJob
from edgebuild.errors import StepError
from edgebuild.passes import carry
from edgebuild.passes.graph import building, files, from_keras3, proof
from edgebuild.passes.graph.ir import Graph, Ref
from edgebuild.passes.graph.plain import simplify
from edgebuild.passes.loading import from_keras_model


def test_a_layer_can_be_an_activation() -> None:
    graph = require_same(network(ROWS, k3.Conv1D(4, 3, activation=k3.LeakyReLU(0.3))))
    assert kinds(graph) == ["Conv1D", "LeakyReLU"]


def test_nested_and_shared_models_are_taken_apart() -> None:
    inner = keras.Sequential([keras.Input((6,)), k3.Dense(6, name="dense"), k3.ReLU(name="relu")], name="inner")
    outer_layer = k3.Dense(6, name="dense")

    def make(t: Any) -> Any:
        return inner(keras.Sequential([keras.Input((6,)), outer_layer], name="outer")(inner(t)))

    graph = require_same(network((6,), make))
    assert [call.layer for call in graph.calls] == ["inner/dense", "relu", "outer/dense", "inner/dense", "relu"]
    assert graph.parameters == 2 * (36 + 6)


def test_inputs_and_outputs_keep_their_order_and_names() -> None:
    zebra, ape = keras.Input((4,), name="zebra"), keras.Input((2,), name="ape")
    joined = k3.Concatenate()([zebra, ape])
    model = shaken(keras.Model({"zebra": zebra, "ape": ape}, {"b": k3.Dense(1)(joined), "a": k3.Dense(3)(joined)}))
    graph = require_same(model)
    assert [item.name for item in graph.inputs] == ["ape", "zebra"]
    assert [graph.tensors[number].shape for number in graph.outputs] == [(None, 3), (None, 1)]


def test_the_same_network_gives_the_same_graph_whatever_was_read_before() -> None:
    def make(t: Any) -> Any:
        return k3.Dense(3, activation="hard_sigmoid", name="d")(t * 2 + ops.square(t))

    model = network((6,), make)
    first = from_keras3.read(model)
    from_keras3.read(network((6,), lambda t: ops.square(t * 3)))
    assert from_keras3.read(model).identity() == first.identity()


def test_augmentation_stays_in_the_network() -> None:
    graph = require_same(network(IMAGE, k3.RandomRotation(0.4, seed=5)))
    x = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype(np.float32)
    assert not np.allclose(building.build(graph)(x, training=True), x)


class Twice(k3.Layer):
    """A layer of the user's own without weights."""

    def call(self, x: Any) -> Any:
        return ops.multiply(x, 2.0)


class Biased(k3.Layer):
    """One with weights."""

    def build(self, shape: Any) -> None:
        self.bias = self.add_weight(shape=(shape[-1],))

    def call(self, x: Any) -> Any:
        return x + self.bias


class Subclassed(keras.Model):
    """A model that is Python code."""

    def __init__(self) -> None:
        super().__init__(name="mine")
        self.dense = k3.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_a_layer_of_the_networks_own_without_weights_is_followed() -> None:
    assert kinds(require_same(network(ROWS, Twice()))) == ["TFOpLambda"]


REFUSED: dict[str, tuple[Make, str]] = {
    "own": (Biased(name="own"), "class of the network's own"),
    "norm": (k3.RMSNormalization(name="norm"), "no layer of this class"),
    "rnn": (k3.LSTM(2, recurrent_activation="hard_sigmoid", name="rnn"), "hard_sigmoid"),
    "attention": (lambda t: k3.MultiHeadAttention(2, 2, use_gate=True, name="attention")(t, t), "use_gate=True"),
    "picture": (lambda t: k3.Resizing(4, 4, antialias=True, name="picture")(k3.Reshape((8, 6, 1))(t)), "antialias"),
    "erasing": (lambda t: k3.RandomErasing(name="erasing")(k3.Reshape((8, 6, 1))(t)), "no layer of this class"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_named(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(StepError, match=why) as caught:
        from_keras3.read(network(ROWS, make))
    assert f"the layer {name} (" in caught.value.what


def test_a_subclassed_model_is_refused() -> None:
    model = Subclassed()
    model(np.zeros((1, 3), np.float32))
    with pytest.raises(StepError, match="subclassed"):
        from_keras3.read(model)


def test_a_changed_weight_is_found() -> None:
    model = network(IMAGE, k3.Conv2D(4, 3, name="conv"))
    graph = from_keras3.read(model)
    layer = graph.layers["conv"]
    kernel = layer.weights["kernel"].copy()
    kernel[0, 1, 2, 3] += 0.01
    wrong = graph._replace(layers={"conv": layer._replace(weights={**layer.weights, "kernel": kernel})})
    with pytest.raises(StepError, match="differ by"):
        proof.require_equal(from_keras_model(model).call, wrong, seed=0)


def nearly_tied(kernel: Any) -> Any:
    """Two classes whose logits are large and all but equal: a softmax makes much of how they are rounded."""
    model = network((64,), lambda t: k3.Softmax()(k3.Dense(2, name="d")(t)))
    model.get_layer("d").kernel.assign(kernel)
    model.get_layer("d").bias.assign([0.0, 0.0])
    return model


def test_what_a_softmax_makes_of_rounding_is_no_difference_and_a_wrong_weight_is_one() -> None:
    rng = np.random.default_rng(0)
    vector = 6 * rng.normal(size=64)
    kernel = np.stack([vector, vector + 1e-4 * rng.normal(size=64)], 1).astype(np.float32)

    def exactly(x: Any) -> list[Any]:
        logits = np.asarray(x, np.float64) @ kernel.astype(np.float64)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return [(powers / powers.sum(-1, keepdims=True)).astype(np.float32)]

    graph = from_keras3.read(nearly_tied(kernel))
    assert proof.require_equal(exactly, graph, seed=0) > 2 * proof.TOLERANCE
    wrong = kernel.copy()
    wrong[0, 0] *= 1.001
    with pytest.raises(StepError, match="does not compute the same"):
        proof.require_equal(exactly, from_keras3.read(nearly_tied(wrong)), seed=0)


def test_other_outputs_are_found() -> None:
    model = network(ROWS, k3.Dense(4))
    graph = from_keras3.read(model)
    twice = graph._replace(outputs=graph.outputs * 2)
    with pytest.raises(StepError, match="other outputs"):
        proof.require_equal(from_keras_model(model).call, twice, seed=0)


def test_differences_are_relative_to_large_values_and_infinite_where_one_is_not_finite() -> None:
    assert proof.difference(np.array([0.5]), np.array([0.25])) == 0.25
    assert proof.difference(np.array([100.0, 1.0]), np.array([100.0, 2.0])) == 0.01
    assert proof.difference(np.array([np.inf, np.nan]), np.array([np.inf, np.nan])) == 0
    assert proof.difference(np.array([np.inf]), np.array([1.0])) == np.inf
    assert proof.difference(np.array([1.0]), np.array([np.nan])) == np.inf


def test_integers_stay_below_what_an_embedding_knows() -> None:
    graph = from_keras3.read(network((50,), lambda t: k3.Embedding(3, 4)(k3.Reshape((5, 10))(t)), "float32"))
    (drawn,) = proof.draw(graph, np.random.default_rng(0), magnitude=100.0)
    assert set(np.unique(drawn)) == {0, 1, 2}


def test_open_dimensions_cannot_be_tried_out() -> None:
    graph = from_keras3.read(network((None, 3), k3.GlobalAveragePooling1D()))
    with pytest.raises(StepError, match="open"):
        proof.draw(graph, np.random.default_rng(0))


def small_network(kit: Any) -> Any:
    """In either Keras."""
    inputs = kit.Input(IMAGE)
    x = kit.layers.BatchNormalization(name="norm")(kit.layers.Conv2D(4, 3, name="conv")(inputs))
    x = kit.layers.Dropout(0.1, noise_shape=(None, 1, 1, 4))(kit.layers.ReLU(6.0)(x)[:, 1:] * 2.0 + 3.0)
    return shaken(kit.Model(inputs, kit.layers.Dense(3)(kit.layers.GlobalAveragePooling2D()(x)), name="small"))


def test_a_graph_in_a_file_computes_the_same_and_becomes_the_same_bytes(tmp_path: Path) -> None:
    model = small_network(keras)
    files.save(from_keras3.read(model), tmp_path / "one.npz")
    files.save(from_keras3.read(model), tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    loaded = files.load(tmp_path / "one.npz")
    proof.require_equal(from_keras_model(model).call, loaded, seed=0)
    files.save(loaded, tmp_path / "again.npz")
    assert files.load(tmp_path / "again.npz").identity() == loaded.identity()


def test_layers_in_a_file_may_have_names_with_slashes(tmp_path: Path) -> None:
    inputs = tf_keras.Input((4,))
    x = tf_keras.layers.Dense(3, name="block/dense")(inputs)
    model = shaken(tf_keras.Model(inputs, tf_keras.layers.Dense(2, name="block/dense/kernel")(x)))
    files.save(building.read(model), tmp_path / "odd.npz")
    loaded = files.load(tmp_path / "odd.npz")
    assert list(loaded.layers) == ["block/dense", "block/dense/kernel"]
    proof.require_equal(from_keras_model(model).call, loaded, seed=0)


def test_weights_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    model = network((2,), k3.Dense(2, name="d"))
    model.get_layer("d").bias.assign([np.nan, -np.inf])
    files.save(from_keras3.read(model), tmp_path / "odd.npz")
    assert np.array_equal(
        files.load(tmp_path / "odd.npz").layers["d"].weights["bias"], [np.nan, -np.inf], equal_nan=True
    )


def test_every_kind_of_value_comes_back_from_a_file(tmp_path: Path) -> None:
    given = {
        "plain": [None, True, -3, 0.1, "word", float("inf")],
        "nested": {"tuple": ({"a": (1, [2])},), "dict": {}},
        "typed": (tf.bfloat16, tf.TensorShape([None, 3]), slice(None, 4, 2), Ellipsis, Ref(0)),
        "numbers": (np.int64(3), np.float32(0.5)),
    }
    arrays = (np.arange(6, dtype=np.int16).reshape(2, 3), tf.constant([[1.5]]))
    graph = from_keras3.read(network((2,), k3.Dense(2, name="d")))
    call = graph.calls[0]._replace(kwargs={**given, "arrays": arrays})
    files.save(graph._replace(calls=(call,)), tmp_path / "all.npz")
    found = dict(files.load(tmp_path / "all.npz").calls[0].kwargs)
    kept = found.pop("arrays")
    assert repr(found) == repr({**given, "numbers": (3, 0.5)})
    assert [type(item) for item in kept] == [np.ndarray, type(arrays[1])]
    assert all(np.array_equal(*both) and both[0].dtype == both[1].dtype for both in zip(kept, arrays, strict=True))


@pytest.mark.parametrize("word", ["Lambda", "StringIO", "Model2"])
def test_a_file_of_a_graph_names_layers_of_keras_alone(word: str, tmp_path: Path) -> None:
    graph = from_keras3.read(network((2,), k3.Dense(2, name="d")))
    files.save(graph, tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as file:
        held = {name: file[name] for name in file.files}
    text = held["graph"].tobytes().replace(b'"Dense"', json.dumps(word).encode())
    np.savez(tmp_path / "net.npz", **{**held, "graph": np.frombuffer(text, np.uint8)})
    with pytest.raises(StepError, match=rf"net\.npz cannot be loaded\n{word} is no layer of Keras"):
        files.load(tmp_path / "net.npz")


def test_what_is_no_plain_data_is_not_written(tmp_path: Path) -> None:
    graph = from_keras3.read(network((2,), k3.Dense(2, name="d")))
    call = graph.calls[0]._replace(kwargs={"mask": print})
    with pytest.raises(StepError, match="is no plain data"):
        files.save(graph._replace(calls=(call,)), tmp_path / "net.npz")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_text("no network")
    with pytest.raises(StepError, match=r"bad\.npz"):
        files.load(tmp_path / "bad.npz")


def carried(path: Path, out: Path, **fields: Any) -> tuple[Any, Graph]:
    """What carrying a file answers, and the graph that it wrote."""
    given = {"kind": "file", "path": str(path), "input_shape": (), "signature": "", "allow_code": False}
    out.mkdir(exist_ok=True)
    answer = carry.run(CarryJob(**{**given, **fields}, out=str(out)), lambda _: None)
    return answer, files.load(out / NETWORK)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras 3.15 with numpy 2.4, when it saves
def test_a_keras_3_file_is_carried(tmp_path: Path) -> None:
    model = small_network(keras)
    model.save(tmp_path / "three.keras")
    answer, graph = carried(tmp_path / "three.keras", tmp_path / "out")
    assert answer.identity_sha256 == graph.identity()
    assert answer.parameters == model.count_params()
    assert "Keras 3" in answer.notes[0]
    proof.require_equal(from_keras_model(model).call, graph, seed=0)


def test_a_tf_keras_network_is_carried_as_it_is(tmp_path: Path) -> None:
    model = small_network(tf_keras)
    model.save(tmp_path / "folder")
    answer, graph = carried(tmp_path / "folder", tmp_path / "out", kind="folder")
    assert not answer.notes
    assert kinds(graph) == kinds(building.read(model))
    proof.require_equal(from_keras_model(model).call, graph, seed=0)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_open_dimensions_are_fixed(tmp_path: Path) -> None:
    model = network((None, None, 3), lambda t: k3.GlobalAveragePooling2D()(k3.Conv2D(4, 3)(t)))
    model.save(tmp_path / "open.keras")
    _, graph = carried(tmp_path / "open.keras", tmp_path / "out", input_shape=(9, 7, 3))
    assert [graph.tensors[call.outputs[0]].shape for call in graph.calls] == [(None, 7, 5, 4), (None, 4)]
    with pytest.raises(StepError, match="does not fit"):
        carried(tmp_path / "open.keras", tmp_path / "out", input_shape=(9, 7, 4))
    with pytest.raises(StepError, match="open"):
        carried(tmp_path / "open.keras", tmp_path / "out")


def test_functions_of_tf_keras_become_layers() -> None:
    inputs = tf_keras.Input((4,))
    graph = simplify(building.read(tf_keras.Model(inputs, tf.nn.relu(inputs + inputs) * 2.0)))
    assert kinds(graph) == ["Add", "ReLU", "TFOpLambda"]


def test_a_network_without_layers_is_refused(tmp_path: Path) -> None:
    small_network(keras).export(tmp_path / "traced", verbose=False)
    with pytest.raises(StepError, match=r"layers of .*traced are not known"):
        carried(tmp_path / "traced", tmp_path / "out", kind="folder")


def test_code_of_the_users_own_is_refused(tmp_path: Path) -> None:
    inputs = tf_keras.Input((4,))
    model = tf_keras.Model(inputs, tf_keras.layers.Lambda(lambda x: x * 2, name="twice")(inputs))
    with pytest.warns(UserWarning, match="legacy"):
        model.save(tmp_path / "code.h5", save_format="h5")
    with pytest.raises(StepError, match=r"twice \(Lambda\)"):
        carried(tmp_path / "code.h5", tmp_path / "out", allow_code=True)
