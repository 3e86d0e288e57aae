"""Options for accuracy and size decide nothing else: what can be built, and what is refused before it is trained."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import Edgebuild
from keras import layers

TRAINS = ("prune", "calibrat", "choose int8", "equalize")


@pytest.fixture
def all_on(edgebuild: Edgebuild) -> Edgebuild:
    edgebuild.compresses = edgebuild.refines = True
    return edgebuild


def _with_activation(folder: Path, activation: str) -> Path:
    rng, name = np.random.default_rng(0), f"{activation}_net"
    given = layers.Input((8, 8, 1))
    x = layers.Activation(activation, name="bend")(layers.Conv2D(4, 3, name="conv")(given))
    keras.Model(given, layers.Dense(3, name="scores")(layers.Flatten()(x))).save(folder / f"{name}.keras")
    np.savez(folder / "images.npz", x_train=rng.normal(size=(120, 8, 8, 1)).astype("f4"))
    return folder / f"{name}.keras"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning")
def test_an_operator_that_a_target_never_takes_is_refused_first_and_the_remedies_work(all_on: Edgebuild) -> None:
    folder = all_on.folder
    ran = all_on(_with_activation(folder, "elu"), "-d", folder / "images.npz", "-t", "mcu")
    assert ran.code == 4
    assert "ELU computes in float (from bend)" in ran.err
    assert (
        "Replace the layers named (ReLU runs in int8), or choose a target with float operators, arm64 say." in ran.err
    )
    steps = [line for line in ran.err.splitlines() if line.startswith("- ")]
    assert "- mcu: convert the network as it is, to see whether it fits" in steps
    assert not any(word in step for step in steps for word in TRAINS)
    all_on.refines = all_on.compresses = False
    ran = all_on(folder / "elu_net.keras", "-d", folder / "images.npz", "-t", "arm64")
    assert ran.code == 5, ran.err  # nothing was scored
    assert "not compared: LiteRT's reference kernels have no ELU (from bend)" in ran.out
    ran = all_on(_with_activation(folder, "relu"), "-d", folder / "images.npz", "-t", "mcu")
    assert ran.code == 5, ran.err


@pytest.mark.slow
def test_a_pass_whose_process_dies_is_left_out_and_said(all_on: Edgebuild, networks: Path) -> None:
    settings = ("passes.channels.keep=60%", "passes.channels.rounds=1", "train.augment=mine:dies", "train.epochs=1")
    options = [part for setting in settings for part in ("--set", setting)]
    ran = all_on(
        networks / "residual.h5", "-d", networks / "images.npz", "-t", "mcu", *options, PYTHONPATH=str(networks)
    )
    assert ran.code in (0, 1), ran.err
    assert "note       mcu: channels left out: the converter crashed (signal SIGABRT)" in ran.out
    assert "equalized" in ran.out
