"""Files of networks and data that are refused, and the same ones as the remedy says, which are read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from making import tensor

from edgebuild.data.reading import from_result
from edgebuild.errors import EdgebuildError
from edgebuild.passes.loading import load

pytestmark = pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning")
X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


class Doubled(keras.layers.Layer):
    """A class of the user's own, which Keras does not know when it loads a file."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * 2


class Subclassed(keras.Model):
    """A model whose inputs are known once it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.end = keras.layers.Dense(2)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.end(x)


def network(*middle: Any, kit: Any = keras) -> Any:
    return kit.Sequential([kit.Input((4,), name="x"), *middle, kit.layers.Dense(2, name="end")])


def refused(run: Callable[[], object], says: str) -> None:
    with pytest.raises(EdgebuildError) as error:
        run()
    assert says in error.value.remedy


def read(path: Path | str, **how: Any) -> Any:
    kind = "callable" if isinstance(path, str) else "folder" if path.is_dir() else "file"
    return load(kind, str(path), **{"signature": "", "allow_code": False, **how})


def outputs_of(path: Path | str, **how: Any) -> Any:
    (found,) = read(path, **how).call(tf.constant(X))
    return found


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_files_of_weights_and_of_other_things(tmp_path: Path) -> None:
    theirs = network(kit=tf_keras)
    theirs.save_weights(tmp_path / "weights.h5")
    (tmp_path / "text.h5").write_text("no network")
    refused(lambda: read(tmp_path / "weights.h5"), "Save the whole model: model.save(FILE)")
    refused(lambda: read(tmp_path / "text.h5"), "Save it again with model.save(FILE)")
    theirs.save(tmp_path / "whole.h5")
    same(outputs_of(tmp_path / "whole.h5"), theirs(X))

    ours = network()
    ours.save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "text.keras").write_text("no network")
    refused(lambda: read(tmp_path / "model.weights.h5"), "Save the whole model: model.save(FILE)")
    refused(lambda: read(tmp_path / "text.keras"), "Save it again with model.save(FILE)")
    ours.save(tmp_path / "whole.keras")
    same(outputs_of(tmp_path / "whole.keras"), ours(X))


def test_classes_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(Doubled())
    model.save(tmp_path / "own.keras")
    refused(lambda: read(tmp_path / "own.keras"), "as module:callable, or export it with model.export(FOLDER)")
    model.export(tmp_path / "exported", verbose=False)
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(build=lambda: model))
    for way in (tmp_path / "exported", "mine:build"):
        same(outputs_of(way), model(X))


def test_a_subclassed_model_that_was_never_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: dict[str, Any] = {"never": Subclassed(), "called": Subclassed()}
    called = models["called"](X)
    monkeypatch.setitem(
        sys.modules, "mine", SimpleNamespace(never=lambda: models["never"], called=lambda: models["called"])
    )
    refused(lambda: read("mine:never"), "Call it on data once before saving, or export it with model.export(FOLDER)")
    same(outputs_of("mine:called"), called)
    models["called"].export(tmp_path / "exported", verbose=False)
    same(outputs_of(tmp_path / "exported"), called)


def test_code_in_a_file(tmp_path: Path) -> None:
    model = network(keras.layers.Lambda(lambda x: x * 2, name="twice"))
    model.save(tmp_path / "code.keras")
    refused(lambda: read(tmp_path / "code.keras"), "allow the code with --allow-code")
    same(outputs_of(tmp_path / "code.keras", allow_code=True), model(X))


def test_several_signatures(tmp_path: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec((None, 4), tf.float32, "x")
    both = {
        name: tf.function(lambda x, by=by: {"y": x * by}, input_signature=[spec])
        for name, by in (("twice", 2.0), ("thrice", 3.0))
    }
    tf.saved_model.save(module, str(tmp_path / "both"), signatures=both)
    refused(lambda: read(tmp_path / "both"), 'Name one: [model] signature = "..."')
    same(outputs_of(tmp_path / "both", signature="thrice"), X * 3)


def read_data(result: Any) -> Any:
    return from_result(result, (tensor("x", (1, 4)),), "mine:data").train


def test_datasets_that_are_not_understood() -> None:
    of = tf.data.Dataset.from_tensor_slices
    named = of({"image": X, "depth": X + 1, "label": np.arange(3)})
    refused(lambda: read_data(named), "dataset.map(lambda e: (e['image'], e['label']))")
    of_several = of((X, {"kind": np.arange(3), "level": X}))
    refused(lambda: read_data(of_several), "dataset.map(lambda x, y: (x, y['NAME']))")
    endless = of(np.arange(3)).repeat()
    refused(lambda: read_data({"x_train": X, "y_train": endless}), "dataset.take(1000)")
    for way in (
        named.map(lambda e: (e["image"], e["label"])),
        of_several.map(lambda x, y: (x, y["kind"])),
        {"x_train": X, "y_train": endless.take(3)},
    ):
        train = read_data(way)
        same(train.x[0], X)
        assert train.y.tolist() == [0, 1, 2]
