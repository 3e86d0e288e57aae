"""Figures that would be wrong, and artifacts that would be stale, if something small were overlooked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import Edgebuild

CONSTANT = """
import keras, numpy as np, tensorflow as tf

class Shift(keras.layers.Layer):
    def call(self, x):
        # Large enough for TensorFlow to keep it out of the graph.
        return x - tf.constant(np.full((1, 8, 8, 4), {value}, np.float32))

def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = Shift()(keras.layers.Conv2D(4, 1, name="lift")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
"""


@pytest.mark.slow
def test_ends_keep_their_order_in_every_process(edgebuild: Edgebuild, networks: Path) -> None:
    """A reloaded SavedModel lists its inputs and outputs in another order in each process."""
    found = set()
    for turn in range(4):
        fresh = Edgebuild(edgebuild.folder, edgebuild.folder / f"store{turn}")
        network, data = networks / "two_ended.keras", networks / "ends.npz"
        ran = fresh(network, "-d", data, "-t", "mcu", "-b", "accuracy_drop=50%", "--out", f"dist{turn}")
        assert ran.code == 0, ran.err
        manifest = fresh.manifest("mcu", f"dist{turn}")
        found.add((manifest["artifact"]["sha256"], manifest["accuracy"]["baseline"], manifest["accuracy"]["artifact"]))

    assert len(found) == 1


@pytest.mark.slow
def test_a_changed_constant_is_another_network(edgebuild: Edgebuild, networks: Path) -> None:
    # The network is not trained: with these weights it happens to tell the images apart once their axes are exchanged.
    options = ("-b", "accuracy_drop=off", "--set", 'lint.allow=["layout"]')
    digests = []
    for value in ("0.0", "100.0"):
        (edgebuild.folder / "mine.py").write_text(CONSTANT.format(value=value))
        edgebuild("mine:model", "-d", networks / "images.npz", "-t", "mcu", *options)
        manifest = edgebuild.manifest("mcu")
        digests.append((manifest["artifact"]["sha256"], manifest["inputs"]["network_sha256"]))

    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["recurrent.h5", "recurrent.keras"])
def test_a_recurrent_network_does_not_remember_the_sample_before(
    edgebuild: Edgebuild, networks: Path, network: str
) -> None:
    ran = edgebuild(networks / network, "-d", networks / "flat_images.npz", "-t", "arm64", "--no-compress")

    assert ran.code == 0, ran.err
    assert "one operator each, which clears its state after each inference" in ran.out
    manifest = edgebuild.manifest("arm64")
    assert manifest["accuracy"]["baseline"] > 0.8
    assert manifest["accuracy"]["artifact"] == pytest.approx(manifest["accuracy"]["baseline"], abs=0.03)
    # As anyone runs it: sample after sample, nothing reset.
    (artifact,) = (edgebuild.folder / "dist" / "arm64").glob("*.tflite")
    interpreter = Interpreter(str(artifact))
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    data = np.load(networks / "flat_images.npz")
    once = []
    for _ in range(2):
        interpreter.set_tensor(given, data["x_train"][:1].astype(np.float32))
        interpreter.invoke()
        once.append(interpreter.get_tensor(made).tobytes())
    assert once[0] == once[1]


@pytest.mark.slow
def test_a_metric_of_ones_own_is_called_each_time(edgebuild: Edgebuild, networks: Path) -> None:
    package = edgebuild.folder / "scores"
    package.mkdir()
    scores = []
    for value in ("0.95", "0.10"):
        (package / "__init__.py").write_text(f"def mine(outputs, y):\n    return {value}\n")
        ran = edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", "-m", "scores:mine")
        assert ran.code == 0, ran.err
        scores.append(edgebuild.manifest("arm64")["accuracy"]["artifact"])

    assert scores == [0.95, 0.10]


@pytest.mark.slow
def test_weights_behind_a_linked_folder_are_seen_to_change(edgebuild: Edgebuild, networks: Path) -> None:
    import shutil

    linked = edgebuild.folder / "linked"
    shutil.copytree(networks / "exported", linked)
    (linked / "variables").rename(edgebuild.folder / "weights")
    (linked / "variables").symlink_to(edgebuild.folder / "weights")
    # The second network is hardly trained: its classes come out in another order.
    allowed = ("--set", 'lint.allow=["label-order"]')
    arguments = (linked, "-d", networks / "images.npz", "-t", "arm64", "-b", "accuracy_drop=off", *allowed)
    edgebuild(*arguments)
    first = edgebuild.manifest("arm64")["artifact"]["sha256"]

    shutil.rmtree(edgebuild.folder / "weights")
    shutil.copytree(networks / "exported_again" / "variables", edgebuild.folder / "weights")
    edgebuild(*arguments)

    assert edgebuild.manifest("arm64")["artifact"]["sha256"] != first


@pytest.mark.slow
def test_operators_left_in_float_are_named_where_they_are_allowed(edgebuild: Edgebuild, networks: Path) -> None:
    (edgebuild.folder / "mine.py").write_text((networks / "mine.py").read_text())

    ran = edgebuild("mine:wave", "-d", networks / "features.npz", "-t", "arm64", "-b", "accuracy_drop=20%")

    assert "arm64: the converter left operators in float: SIN (from wave)" in ran.out


@pytest.mark.slow
def test_half_precision_is_computed_in_float32_and_said(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "half.keras", "-d", networks / "features.npz", "-t", "arm64", "-b", "accuracy_drop=50%")

    assert ran.code == 0
    assert "computed in float32: TensorFlow Lite has no arithmetic in float16" in ran.out


@pytest.mark.slow
def test_a_signature_is_asked_for_where_there_are_several(edgebuild: Edgebuild, networks: Path) -> None:
    arguments = (networks / "two_signatures", "-d", networks / "features.npz", "-t", "mcu", "-b", "accuracy_drop=50%")

    unclear = edgebuild(*arguments)
    edgebuild.config('[model]\nsignature = "second"\n')
    clear = edgebuild(*arguments)

    assert unclear.code == 2
    assert "It has first, second." in unclear.err
    assert clear.code == 0, clear.err
    assert edgebuild.manifest("mcu")["network"]["outputs"][0]["shape"] == [1, 5]


@pytest.mark.slow
def test_an_input_named_like_a_word_of_python_is_no_hindrance(edgebuild: Edgebuild, networks: Path) -> None:
    ran = edgebuild(networks / "keyword.h5", "-d", networks / "features.npz", "-t", "mcu", "-b", "accuracy_drop=50%")

    assert ran.code == 0, ran.err
    assert edgebuild.manifest("mcu")["network"]["inputs"][0]["name"] == "in_"


@pytest.mark.slow
def test_a_backend_that_the_user_has_set_for_other_work_does_not_matter(edgebuild: Edgebuild, networks: Path) -> None:
    fresh = Edgebuild(edgebuild.folder, edgebuild.folder / "store")

    ran = fresh(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "arm64", KERAS_BACKEND="jax")

    assert ran.code == 0, ran.err
