"""Faults of calibration data, as a user sees them; and that good data are left in peace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Edgebuild


def _codes(edgebuild: Edgebuild, target: str = "mcu") -> list[str]:
    return [finding["code"] for finding in edgebuild.manifest(target)["findings"]]


@pytest.mark.slow
def test_a_fault_is_told_with_reason_and_remedy_and_kept_in_the_manifest(edgebuild: Edgebuild, networks: Path) -> None:
    data = dict(np.load(networks / "images.npz"))
    np.savez(edgebuild.folder / "same.npz", **data, x_calibration=data["x_train"][:1].repeat(100, axis=0))

    ran = edgebuild(networks / "keras3.keras", "-d", "same.npz", "-t", "mcu", "-t", "arm64", "-b", "accuracy_drop=off")

    assert ran.code == 0, ran.err
    assert "  warning: all 100 calibration samples are the same\n" in ran.err
    assert ran.out.count("warning    all 100 calibration samples are the same (repeated-sample)\n") == 1
    assert "Give different samples" in ran.out
    assert "repeated-sample" in _codes(edgebuild)
    assert all(finding["why"] and finding["remedy"] for finding in edgebuild.manifest("mcu")["findings"])
    first = edgebuild.manifest("arm64")["findings"]
    again = edgebuild(networks / "keras3.keras", "-d", "same.npz", "-t", "arm64", "-b", "accuracy_drop=off")
    assert "- look for faults in the data: kept from an earlier build" in again.err
    assert edgebuild.manifest("arm64")["findings"] == first


@pytest.mark.slow
def test_a_finding_that_is_to_be_ignored_is_not_told(edgebuild: Edgebuild, networks: Path) -> None:
    data = dict(np.load(networks / "images.npz"))
    np.savez(edgebuild.folder / "few.npz", **data, x_calibration=data["x_train"][:5])
    edgebuild.config('[lint]\nignore = ["too-few-samples"]\n')
    ran = edgebuild(networks / "keras3.keras", "-d", "few.npz", "-t", "mcu", "-b", "accuracy_drop=off")
    assert ran.code == 0, ran.err
    assert "warning" not in ran.out + ran.err
    assert _codes(edgebuild) == []


def test_ignoring_an_unknown_finding_is_refused_with_the_one_that_is_meant(edgebuild: Edgebuild) -> None:
    edgebuild.config('[lint]\nignore = ["duplicate-sample"]\n')
    ran = edgebuild("-t", "mcu", "--dry-run")
    assert ran.code == 2
    assert 'no finding is called "duplicate-sample"; did you mean "duplicate-samples"?' in ran.err


@pytest.mark.parametrize("network", ["keras3.keras", "exported"])  # batch norms of either Keras: test_lint_batch_norms
@pytest.mark.slow
def test_a_forgotten_division_is_found_in_networks_of_every_kind(
    edgebuild: Edgebuild, networks: Path, network: str
) -> None:
    data = dict(np.load(networks / "images.npz"))
    raw = {name: array * 255 if name.startswith("x_") else array for name, array in data.items()}
    np.savez(edgebuild.folder / "raw.npz", **raw)

    ran = edgebuild(networks / network, "-d", "raw.npz", "-t", "mcu", "-b", "accuracy_drop=off")

    assert ran.code == 0, ran.err
    assert _codes(edgebuild) == ["normalization"]
    assert "Set [preprocess] scale = 0.00392157 and mean = 0." in ran.out


@pytest.mark.slow
def test_calibration_is_left_alone_where_nothing_is_calibrated(edgebuild: Edgebuild, networks: Path) -> None:
    data = dict(np.load(networks / "images.npz"))
    np.savez(edgebuild.folder / "few.npz", **data, x_calibration=data["x_train"][:5])
    for scheme, codes in (("float16", []), ("int8", ["too-few-samples"])):
        ran = edgebuild(networks / "keras3.keras", "-d", "few.npz", "-t", "arm64", "-q", scheme, "-b", "size=1MB")
        assert ran.code in (0, 1), ran.err
        assert _codes(edgebuild, "arm64") == codes


@pytest.mark.slow
def test_good_data_are_not_warned_of(edgebuild: Edgebuild, networks: Path) -> None:
    edgebuild("-t", "arm64")
    assert _codes(edgebuild, "arm64") == []
    edgebuild(networks / "keras3.keras", "-d", networks / "images.npz", "-t", "mcu")
    assert _codes(edgebuild) == []


_TRAIN = """
import keras, numpy as np
data = np.load({data!r})
keras.utils.set_random_seed(0)
layers = keras.layers
net = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(8, 3, strides=2), layers.BatchNormalization(),
    layers.ReLU(), layers.Conv2D(16, 3, strides=2, activation="relu"), layers.Flatten(), layers.Dense(10)])
net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
net.fit(data["x_train"][..., None] / 255, data["y_train"], epochs=2, verbose=0)
net.save("mnist.keras")
"""


@pytest.mark.slow
def test_mnist_is_not_warned_of_unless_it_is_fed_as_it_is(edgebuild: Edgebuild, assets: Path) -> None:
    whole = assets / "mnist" / "mnist.npz"
    if not whole.is_file():
        pytest.skip(f"MNIST is not at {whole}")
    data = edgebuild.folder / "mnist.npz"
    with np.load(whole) as arrays:  # sorted by class
        np.savez(data, **{name: arrays[name][:: 8 if "train" in name else 10] for name in arrays})
    assert edgebuild.in_python(_TRAIN.format(data=str(data))).code == 0
    for settings, codes in (((), ["normalization"]), (("--set", "preprocess.scale=1/255"), [])):
        ran = edgebuild("mnist.keras", "-d", data, "-t", "mcu", "-b", "accuracy_drop=off", *settings)
        assert ran.code == 0, ran.err
        assert _codes(edgebuild) == codes


@pytest.mark.slow
def test_answers_that_are_shifted_by_one_class_are_told(edgebuild: Edgebuild, networks: Path) -> None:
    data = dict(np.load(networks / "images.npz"))
    shifted = {name: (y + 1) % 3 for name, y in data.items() if name.startswith("y_")}
    np.savez(edgebuild.folder / "shifted.npz", **{**data, **shifted})
    words = (networks / "keras3.keras", "-d", "shifted.npz", "-t", "mcu", "-b", "accuracy_drop=off")
    ran = edgebuild(*words)
    assert ran.code == 2
    assert "the labels are numbered in another order than the network's outputs" in ran.err
    assert "y = (y + 2) % 3" in ran.err
    assert not (edgebuild.folder / "dist").exists()
    assert 'To build all the same: [lint] allow = ["below-chance"]' in ran.err
    allowed = edgebuild(*words, "--set", 'lint.allow=["below-chance"]')
    assert allowed.code == 0, allowed.err
    assert _codes(edgebuild) == ["below-chance"]
    mended = {name: (array + 2) % 3 if name.startswith("y_") else array for name, array in {**data, **shifted}.items()}
    np.savez(edgebuild.folder / "shifted.npz", **mended)
    assert edgebuild(*words).code == 0
    assert _codes(edgebuild) == []


def test_evaluation_answers_that_name_no_class_are_refused_with_what_mends_them(
    edgebuild: Edgebuild, networks: Path
) -> None:
    data = dict(np.load(networks / "images.npz"))
    np.savez(edgebuild.folder / "from1.npz", **{**data, "y_eval": data["y_eval"] + 1})
    ran = edgebuild(networks / "keras3.keras", "-d", "from1.npz", "-t", "mcu", "-b", "accuracy_drop=off")
    assert ran.code == 2
    assert "They go from 1 to 3, its classes from 0 to 2." in ran.err
    assert "Subtract 1: classes are counted from 0." in ran.err
