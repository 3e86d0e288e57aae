"""The axes that a network leaves open: asked for by name, or taken from the data; every advice works."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

from edgebuild.actions.networks import NETWORK, CarryJob, FreezeJob
from edgebuild.data.given import from_arrays
from edgebuild.data.headers import sample_shapes
from edgebuild.errors import EdgebuildError, StepError, UsageError
from edgebuild.passes import carry, freeze
from edgebuild.passes.loading import from_keras_model
from edgebuild.passes.static_shapes import Wanted, static

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
TEXT = [("input_ids", (None,)), ("attention_mask", (None,))]
IMAGE = [("image", (None, None, 3))]


def _advised(inputs: Any, wanted: Wanted) -> Wanted:
    """What the error's remedy says, as edgebuild.toml holds it."""
    with pytest.raises(EdgebuildError) as refused:
        static(inputs, wanted)
    found = re.search(r"\[model\] (.*)\.$", refused.value.remedy)
    assert found
    settings = tomllib.loads(found[1])
    return Wanted(
        tuple(settings.get("input_shape", ())), {k: tuple(v) for k, v in settings.get("input_shapes", {}).items()}
    )


@pytest.mark.parametrize("inputs", [TEXT, IMAGE, [("values", (4,)), ("ids", (None,))]])
def test_what_the_error_advises_works(inputs: Any) -> None:
    advised = _advised(inputs, Wanted())
    found = static(inputs, advised).shapes
    assert all(
        own in (None, size)
        for (_, inner), shape in zip(inputs, found, strict=True)
        for own, size in zip(inner, shape, strict=True)
    )
    if len(inputs) > 1:  # one shape for all is refused, with the same advice
        assert _advised(inputs, Wanted((16,))) == advised


def test_shapes_are_asked_for_by_name_or_taken_from_the_data() -> None:
    by_name = {"input_ids": (9,)}
    found = static(TEXT, Wanted((), by_name, {"input_ids": (7,), "attention_mask": (9,)}))
    assert found.shapes == ((9,), (9,))
    assert found.notes == ("the open axes of the input attention_mask have the data's sizes: [9]",)
    assert static(IMAGE, Wanted((), {}, {"": (8, 6, 3)})).shapes == ((8, 6, 3),)
    assert static([("image", (None, None, 1))], Wanted((), {}, {"": (8, 6)})).shapes == ((8, 6, 1),)
    with pytest.raises(StepError, match="leaves dimensions open"):
        static(IMAGE, Wanted((), {}, {"": (8, 6, 4)}))
    with pytest.raises(StepError, match="does not fit"):
        static(IMAGE, Wanted((8, 6, 4)))
    with pytest.raises(UsageError, match="names mask"):
        static(TEXT, Wanted((), {"mask": (9,)}))


def test_a_name_that_no_trace_takes_is_the_reason_that_is_given(tmp_path: Path) -> None:
    given = keras.Input((3,))
    network = keras.Model(given, keras.layers.Dense(2, name="fully connected")(given))
    with pytest.raises(StepError, match="cannot be traced") as refused:
        freeze.freeze(from_keras_model(network), tmp_path, name="net")
    assert "'fully connected' is not a valid scope name" in refused.value.why


def test_inputs_of_any_name_are_loaded_and_given_their_data(tmp_path: Path) -> None:
    called = ["0 weird name", "_b.c-d", "plain"]
    given = [keras.Input((size,), name=name) for size, name in enumerate(called, 1)]
    network = keras.Model(given, keras.layers.Dense(2)(keras.layers.Concatenate()(given)))
    frozen = freeze.freeze(from_keras_model(network), tmp_path, name="net")
    arrays = {f"x_train/{name}": np.zeros((2, size), np.float32) for size, name in enumerate(called, 1)}
    found = from_arrays(arrays, frozen.network.inputs, "d.npz").train
    assert found is not None
    assert [array.shape[1] for array in found.x] == [1, 2, 3]


def test_a_network_of_text_is_loaded_with_the_shapes_of_its_data(tmp_path: Path) -> None:
    layers = keras.layers
    ids, mask = (layers.Input((None,), dtype="int32", name=name) for name, _ in TEXT)
    seen = keras.ops.expand_dims(keras.ops.cast(mask, "float32"), -1)
    x = keras.ops.sum(layers.Embedding(20, 4)(ids) * seen, axis=1)
    keras.Model([ids, mask], layers.Dense(2)(x)).save(tmp_path / "net.keras")
    arrays = {f"x_train/{name}": np.ones((5, 6), np.int32) for name, _ in TEXT}
    np.savez(tmp_path / "data.npz", y_train=np.zeros(5), **arrays)
    shapes = sample_shapes(tmp_path / "data.npz")
    assert shapes == {"input_ids": (6,), "attention_mask": (6,)}
    given: dict[str, Any] = {"kind": "file", "path": str(tmp_path / "net.keras"), "input_shape": (), "signature": ""}
    given |= {"allow_code": False, "data_shapes": shapes}
    frozen = freeze.run(FreezeJob(**given, out=str(tmp_path)), lambda _: None)
    assert [spec.shape for spec in frozen.network.inputs] == [(-1, 6), (-1, 6)]
    assert len(frozen.notes) == 2
    carry.run(CarryJob(**given, out=str(tmp_path)), lambda _: None)
    assert (tmp_path / NETWORK).is_file()
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:100])
    assert sample_shapes(tmp_path / "damaged.npz") == {}
