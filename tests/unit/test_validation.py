"""Samples that were given to choose by: nothing is learnt from them, and nothing is evaluated on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tf_keras
from making import ACCURACY, IDENTITY, manifest, tensor

from edgebuild import config
from edgebuild.actions import compression, datasets
from edgebuild.core.plan import Split
from edgebuild.core.settings import TeacherSettings
from edgebuild.data.given import Examples, Given
from edgebuild.data.outline import divided
from edgebuild.data.splitting import divide
from edgebuild.errors import UsageError
from edgebuild.passes import lessons, split
from edgebuild.passes.graph import building
from edgebuild.passes.training.data import TrainData
from edgebuild.report import card

SETTINGS = config.load({}, {}, use_file=False).settings
HOW = Split(calibration_samples=8, evaluation_share=0.25, seed=0)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3
MORE, THEIRS = RNG.normal(size=(9, 4)).astype(np.float32), np.arange(9) % 3


def _network() -> Any:
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((4,), name="x")
    return tf_keras.Model(inputs, tf_keras.layers.Dense(3, activation="softmax")(inputs))


def _split(folder: Path, **arrays: Any) -> datasets.Splits:
    np.savez(folder / "data.npz", x_train=X, y_train=Y, **arrays)
    out = folder / "out"
    out.mkdir()
    job = datasets.SplitJob(
        kind="file", path=str(folder / "data.npz"), inputs=(tensor("x", (-1, 4)),), split=HOW, out=str(out)
    )
    return split.run(job, lambda _: None)


def _lesson(folder: Path, found: datasets.Splits, *teachers: Path) -> compression.LessonJob:
    named = tuple(TeacherSettings(network=str(path), weight=1.0) for path in teachers)
    return compression.LessonJob(
        data=str(folder / "out"),
        given_samples=found.given_samples,
        validation_samples=found.validation_samples,
        preprocess=IDENTITY,
        metric=ACCURACY,
        train=msgspec.structs.replace(SETTINGS.train, epochs=2, batch_size=8),
        distill=msgspec.structs.replace(SETTINGS.distill, teachers=named),
        seed=0,
        time_s=60.0,
        allow_code=False,
    )


def test_given_validation_samples_are_chosen_by_and_nothing_else(tmp_path: Path) -> None:
    found = _split(tmp_path, x_validation=MORE, y_validation=THEIRS)
    assert (found.validation_samples, found.evaluation_samples, found.learning_samples) == (9, 10, 30)
    assert any("9 validation samples were given" in note for note in found.notes)
    evaluated = np.load(tmp_path / "out" / "evaluation" / "x000.npy")
    assert not (evaluated[:, np.newaxis] == MORE).all(axis=2).any()
    data = TrainData(
        tmp_path / "out" / "learning",
        IDENTITY,
        [np.dtype("float32")],
        SETTINGS.train,
        0,
        ACCURACY,
        tmp_path / "out" / "validation",
    )
    assert np.array_equal(data.take(data.validation)[0], MORE)
    assert np.array_equal(data.answers(data.validation), THEIRS)
    epoch = [rows for rows, _ in zip(data.shuffled(), range(data.steps_per_epoch), strict=False)]
    assert sorted(np.concatenate([rows for rows, _ in epoch])) == list(range(30))


def test_training_scores_on_them_and_stored_outputs_go_on_with_theirs(tmp_path: Path) -> None:
    found = _split(tmp_path, x_val=MORE, y_val=THEIRS)
    original = _network()
    outputs = np.concatenate([original(X).numpy(), original(MORE).numpy()])
    np.save(tmp_path / "teacher.npy", outputs)
    trainer = lessons.trainer(
        _lesson(tmp_path, found, tmp_path / "teacher.npy"), building.read(original), lambda _: None
    )
    assert trainer.validation_samples == 9
    right = float(np.mean(original(MORE).numpy().argmax(1) == THEIRS))
    assert trainer.evidence.score(original) == pytest.approx(right)
    trainer(_network())
    np.save(tmp_path / "teacher.npy", outputs[:40])
    with pytest.raises(UsageError, match="holds answers to 40 samples") as error:
        lessons.trainer(_lesson(tmp_path, found, tmp_path / "teacher.npy"), building.read(original), lambda _: None)
    assert "and of x_validation after them" in error.value.remedy


def test_without_train_samples_they_are_not_used_and_without_labels_refused(tmp_path: Path) -> None:
    examples = Examples((MORE,), THEIRS)
    alone = divide(Given(validation=examples, evaluation=Examples((X,), Y)), HOW)
    assert "9 validation samples are not used: there are no train samples to learn from" in alone.notes
    assert divided({"train": 40, "validation": 9}, HOW) == {
        "train": 22,
        "validation": 9,
        "calibration": 8,
        "evaluation": 10,
    }
    with pytest.raises(UsageError, match="the validation split has no labels, and the other one has"):
        _split(tmp_path, x_validation=MORE)


def test_card_and_manifest_count_them() -> None:
    built = manifest()
    assert built.inputs.data is not None
    assert "validation" not in card.of_build(built).split("## Data")[1].split("##")[0]
    record = msgspec.structs.replace(built.inputs.data, validation_samples=9)
    told = card.of_build(msgspec.structs.replace(built, inputs=msgspec.structs.replace(built.inputs, data=record)))
    assert "| validation | 9 |" in told
