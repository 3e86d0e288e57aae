"""What a network learns from and is refused, and the same as the remedy says, which teaches it."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from making import ACCURACY, IDENTITY

from edgebuild import config
from edgebuild.actions.compression import LessonJob
from edgebuild.actions.datasets import LEARNING, LEARNING_ROWS
from edgebuild.core.settings import TeacherSettings
from edgebuild.data import samples
from edgebuild.data.given import Examples
from edgebuild.errors import EdgebuildError, UsageError
from edgebuild.passes import lessons
from edgebuild.passes.graph import building
from edgebuild.passes.training.trainer import Trainer

SETTINGS = config.load({}, {}, use_file=False).settings
COUNT = 24
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(COUNT, 4)).astype(np.float32), RNG.integers(0, 3, COUNT)
layers = tf_keras.layers


def network(ends: int = 1, name: str = "hidden") -> Any:
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((4,), name="x")
    x = layers.Dense(5, activation="relu", name=name)(inputs)
    outputs = [layers.Dense(3, activation="softmax", name=f"{name}_end{number}")(x) for number in range(ends)]
    return tf_keras.Model(inputs, outputs if ends > 1 else outputs[0])


@dataclasses.dataclass
class Lesson:
    """What a training is asked for; `teach` runs three steps of it."""

    folder: Path
    x: Any = dataclasses.field(default_factory=lambda: X)
    y: Any = dataclasses.field(default_factory=lambda: Y)
    train: dict[str, Any] = dataclasses.field(default_factory=dict)
    distill: dict[str, Any] = dataclasses.field(default_factory=dict)
    student: Any = None

    def teach(self, *teachers: str | Path) -> None:
        """Train a network: the student, where it is another one."""
        self.begin(*teachers)(self.student or network())

    def begin(self, *teachers: str | Path) -> Trainer:
        """All that comes before the first step."""
        folder = self.folder / f"{time.monotonic_ns()}"
        folder.mkdir()
        samples.save(Examples((self.x,), self.y), folder / LEARNING)
        further = tuple(TeacherSettings(network=str(path), weight=1.0) for path in teachers)
        replace = msgspec.structs.replace
        job = LessonJob(
            data=str(folder),
            given_samples=len(self.x),
            preprocess=IDENTITY,
            metric=ACCURACY,
            train=replace(SETTINGS.train, **{"epochs": 1, "batch_size": 8, **self.train}),
            distill=replace(SETTINGS.distill, **{"teachers": further, **self.distill}),
            seed=0,
            time_s=60.0,
            allow_code=False,
        )
        np.save(folder / LEARNING_ROWS, np.arange(len(self.x)))
        return lessons.trainer(job, building.read(network()), lambda _: None)


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    return Lesson(tmp_path)


def refused(run: Callable[[], object], says: str) -> None:
    with pytest.raises(EdgebuildError) as error:
        run()
    assert says in error.value.remedy
    assert "\n" not in error.value.remedy


def test_something_to_learn_from(lesson: Lesson) -> None:
    without = dataclasses.replace(lesson, y=None, distill={"original": 0.0})
    refused(without.begin, "Give y_train, or leave [distill] original and soft above 0")
    dataclasses.replace(lesson, distill={"original": 0.0}).begin()
    dataclasses.replace(lesson, y=None).begin()


def test_more_samples(lesson: Lesson) -> None:
    refused(dataclasses.replace(lesson, x=X[:1], y=Y[:1]).begin, "Give more x_train")
    dataclasses.replace(lesson, x=X[:8], y=Y[:8]).begin()


def test_layers_of_other_names_that_are_compared(lesson: Lesson) -> None:
    other = dataclasses.replace(lesson, student=network(name="mine"), distill={"feature": 1.0})
    refused(other.teach, 'pairs = [["teacher\'s layer", "student\'s layer"]]')
    written = 'pairs = [["hidden", "mine"]]'
    pairs = config.load({"distill": msgspec.toml.decode(written)}, {}, use_file=False).settings.distill.pairs
    dataclasses.replace(other, distill={"feature": 1.0, "pairs": pairs}).teach()


def test_outputs_of_a_teacher_that_were_stored(lesson: Lesson, tmp_path: Path) -> None:
    said = network()(X).numpy()
    for name, stored in (("none", np.array([{}])), ("few", said[:5]), ("all", said)):
        np.save(tmp_path / f"{name}.npy", stored, allow_pickle=True)
    refused(lambda: lesson.teach(tmp_path / "none.npy"), "Save one array with numpy.save")
    refused(lambda: lesson.teach(tmp_path / "few.npy"), "for every sample of x_train, in its order")
    lesson.teach(tmp_path / "all.npy")


def test_stored_outputs_beside_changed_samples(lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shifting", SimpleNamespace(all=lambda x, rng: x + 0.1))
    np.save(tmp_path / "all.npy", network()(X).numpy())
    network().save(tmp_path / "itself.keras")
    changing = dataclasses.replace(lesson, train={"augment": "shifting:all"})
    refused(lambda: changing.teach(tmp_path / "all.npy"), "Leave one of them out, or name the network itself")
    changing.begin()
    changing.teach(tmp_path / "itself.keras")


def test_samples_that_are_changed_keep_their_shape(lesson: Lesson, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = SimpleNamespace(cut=lambda x, rng: x[:, :2], kept=lambda x, rng: np.roll(x, 2, axis=1))
    monkeypatch.setitem(sys.modules, "shifting", functions)
    refused(dataclasses.replace(lesson, train={"augment": "shifting:cut"}).teach, "a batch of the same shape")
    dataclasses.replace(lesson, train={"augment": "shifting:kept"}).teach()


def test_functions_that_give_a_teacher(lesson: Lesson, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = SimpleNamespace(
        number=lambda: 3,
        direct=lambda x: network()([x]),
        model=network,
        function=lambda: lambda x: np.full((len(x), 3), 1 / 3),
    )
    monkeypatch.setitem(sys.modules, "guides", functions)
    refused(lambda: lesson.begin("guides:number"), "Return a Keras model, or a function that takes a batch")
    refused(lambda: lesson.begin("guides:direct"), "It is called without arguments, and returns a Keras model")
    lesson.teach("guides:model", "guides:function")


def test_a_teacher_whose_ends_have_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(ends=2)
    module = tf.Module()
    module.held = model.variables
    spec = tf.TensorSpec((None, 4), tf.float32, "x")
    both = tf.function(lambda x: dict(zip("ab", model(x), strict=True)), input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "traced"), signatures=both)
    model.save(tmp_path / "layered.keras")
    monkeypatch.setitem(sys.modules, "guides", SimpleNamespace(both=lambda: lambda x: model([x])))

    def teacher(path: Path | str) -> Any:
        job = SimpleNamespace(allow_code=False, data=str(tmp_path), given_samples=COUNT)
        return lessons._further(TeacherSettings(network=str(path), weight=1.0), job)  # type: ignore[arg-type]

    with pytest.raises(UsageError) as error:
        teacher(tmp_path / "traced")
    assert ".keras or .h5 file, or a module:callable that returns a function of a batch" in error.value.remedy
    for way in (tmp_path / "layered.keras", "guides:both"):
        said = teacher(way).answers(np.arange(COUNT), [X])
        for ours, theirs in zip(said, model(X), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
