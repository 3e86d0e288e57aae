"""Training: what teachers and labels teach, how a run ends, and that it is the same each time."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from making import ACCURACY, IDENTITY, metric
from sklearn.datasets import load_digits

from edgebuild import config
from edgebuild.core.settings import DistillSettings, TrainSettings
from edgebuild.data import samples
from edgebuild.data.given import Examples
from edgebuild.errors import StepError, UsageError
from edgebuild.passes.graph import building
from edgebuild.passes.guard import Guard, unscored
from edgebuild.passes.surgery import blocks
from edgebuild.passes.training import losses, objective, pace, teachers
from edgebuild.passes.training.data import TrainData
from edgebuild.passes.training.loop import Hooks, Lesson
from edgebuild.passes.training.teachers import Teacher, remembering
from edgebuild.passes.training.trainer import Trainer

SETTINGS = config.load({}, {}, use_file=False).settings
QUIET = lambda _: None  # noqa: E731 - a listener that says nothing


def train_settings(**fields: Any) -> TrainSettings:
    return msgspec.structs.replace(SETTINGS.train, **{"epochs": 4, "patience": 0, **fields})


def distill(**fields: Any) -> DistillSettings:
    return msgspec.structs.replace(SETTINGS.distill, **fields)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = load_digits(return_X_y=True)
    folder = tmp_path_factory.mktemp("data") / "learning"
    samples.save(Examples(((x[:600] / 16).astype(np.float32),), y[:600]), folder)
    return folder


@pytest.fixture(scope="module")
def unlabelled(digits: Path) -> Path:
    folder = digits.parent / "unlabelled"
    samples.save(Examples((np.load(digits / "x000.npy"),)), folder)
    return folder


def network(width: int = 16, seed: int = 1, activation: str | None = "softmax") -> Any:
    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    inputs = layers.Input((64,), name="pixels")
    x = layers.Dense(width, activation="relu", name="hidden")(inputs)
    return tf_keras.Model(inputs, layers.Dense(10, activation=activation, name="answer")(x))


def data_of(folder: Path, **fields: Any) -> TrainData:
    return TrainData(folder, IDENTITY, [np.dtype("float32")], train_settings(**fields), seed=0, metric=ACCURACY)


def lesson(folder: Path, *taught_by: Teacher, parts: dict[str, Any] | None = None, **fields: Any) -> Lesson:
    return Lesson(
        data=data_of(folder, **fields),
        teachers=taught_by,
        train=train_settings(**fields),
        distill=distill(**(parts or {})),
        metric=ACCURACY,
        time_s=60.0,
        seed=0,
        started=time.monotonic(),
    )


@pytest.fixture(scope="module")
def teacher(digits: Path) -> Any:
    model = network(64, seed=5)
    Trainer(lesson(digits, epochs=30, learning_rate=0.01), QUIET)(model)
    return model


def agreement(model: Any, other: Any, folder: Path) -> float:
    x = np.load(folder / "x000.npy")
    return float(np.mean(model(x).numpy().argmax(1) == other(x).numpy().argmax(1)))


# Training


def two_headed(seed: int) -> Any:
    """An output of values, and one of probabilities."""
    tf_keras.utils.set_random_seed(seed)
    inputs = tf_keras.Input((64,), name="pixels")
    x = tf_keras.layers.Dense(16, activation="relu")(inputs)
    return tf_keras.Model(inputs, [tf_keras.layers.Dense(1)(x), tf_keras.layers.Dense(10, activation="softmax")(x)])


def test_a_network_has_nothing_to_learn_from_itself_at_any_of_its_outputs(unlabelled: Path) -> None:
    model = two_headed(1)
    found = lesson(unlabelled, teachers.of_model(model, "itself", 1.0))._replace(metric=metric("accuracy", output=1))
    said: list[str] = []
    Trainer(found, said.append)(model)
    assert float(said[0].split("loss ")[1].split(",")[0]) == pytest.approx(0, abs=1e-3)


def test_a_network_that_ends_in_logits_is_ranked_by_its_own_answers(unlabelled: Path) -> None:
    model = network(activation=None)
    trainer = Trainer(lesson(unlabelled, teachers.of_model(model, "itself", 1.0)), QUIET)
    assert trainer.evidence.loss(model) == pytest.approx(0, abs=1e-5)
    assert trainer.evidence.loss(network(seed=9, activation=None)) > 0.01


def test_a_teacher_of_other_outputs_is_refused(unlabelled: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "narrow.npy", np.zeros((600, 2), np.float32))
    stored = teachers.of_file(tmp_path / "narrow.npy", 600, None, 1.0)
    with pytest.raises(UsageError, match=r"answers in the shapes \[\[2\]\], the network in \[\[10\]\]"):
        Trainer(lesson(unlabelled, stored), QUIET)(network())
    wrong = teachers.of_function(lambda x: x @ np.zeros((3, 10)), "wrong", 1.0)
    with pytest.raises(StepError, match="the teacher wrong failed"):
        Trainer(lesson(unlabelled, wrong), QUIET)(network())


def test_layers_of_other_names_cannot_be_compared_unless_they_are_paired(digits: Path, teacher: Any) -> None:
    inputs = tf_keras.Input((64,))
    student = tf_keras.Model(inputs, tf_keras.layers.Dense(10, name="mine")(inputs))
    guide = teachers.of_model(teacher, "t", 1.0)
    with pytest.raises(UsageError, match="none of the same name"):
        Trainer(lesson(digits, guide, parts={"feature": 1.0}), QUIET)(student)


def test_training_on_labels_alone_learns(digits: Path) -> None:
    model = network()
    trainer = Trainer(lesson(digits, epochs=15, learning_rate=0.01), QUIET)
    before = trainer.evidence.score(model)
    trainer(model)
    after = trainer.evidence.score(model)
    assert before is not None
    assert after is not None
    assert before < 0.4
    assert after > 0.85


def test_a_teacher_alone_teaches_without_labels(unlabelled: Path, teacher: Any) -> None:
    model = network()
    before = agreement(model, teacher, unlabelled)
    Trainer(lesson(unlabelled, teachers.of_model(teacher, "t", 1.0), epochs=15, learning_rate=0.01), QUIET)(model)
    assert before < 0.4
    assert agreement(model, teacher, unlabelled) > 0.9


def test_without_labels_a_network_is_held_to_the_originals_outputs(unlabelled: Path) -> None:
    original = network()
    taught = lesson(unlabelled, teachers.of_model(original, "t", 1.0))
    trainer = Trainer(taught._replace(original=building.read(original)), QUIET)
    guard = Guard.of(building.read(original), 0.01, trainer)
    assert trainer.evidence.standing(original) == pytest.approx(0, abs=1e-9)
    near, far = network(), network(seed=2)
    kernel, bias = near.get_layer("hidden").get_weights()
    near.get_layer("hidden").set_weights([1.01 * kernel, bias])
    for model, is_good in ((original, True), (near, True), (far, False)):
        assert guard.holds(trainer.evidence.standing(model)) == is_good
    lost = trainer.evidence.standing(far)
    assert lost is not None
    said = guard.refusal("it", lost)
    assert said.startswith("reverted it: there are no labels, and outputs differ from the original's by ")
    assert "(limit 1.0 %; give y_train for a limit on the score)" in said
    assert guard.comparison(lost).endswith("limit 1.0 %")
    assert not guard.holds(float("nan"))


def test_nothing_to_learn_from_is_said(unlabelled: Path) -> None:
    with pytest.raises(UsageError, match="nothing to learn from"):
        Trainer(lesson(unlabelled), QUIET)(network())


def test_the_heavier_of_two_teachers_is_followed(unlabelled: Path, teacher: Any) -> None:
    wrong = teachers.of_function(lambda x: np.roll(teacher(x).numpy(), 1, axis=1), "wrong", 0.05)
    model = network()
    right = teachers.of_model(teacher, "right", 1.0)
    Trainer(lesson(unlabelled, right, wrong, epochs=15, learning_rate=0.01), QUIET)(model)
    assert agreement(model, teacher, unlabelled) > 0.85
    other = network()
    heavy = wrong._replace(weight=20.0)
    Trainer(lesson(unlabelled, right, heavy, epochs=15, learning_rate=0.01), QUIET)(other)
    assert agreement(other, teacher, unlabelled) < 0.2


def test_stored_answers_teach_as_the_network_that_gave_them(unlabelled: Path, teacher: Any, tmp_path: Path) -> None:
    x = np.load(unlabelled / "x000.npy")
    np.save(tmp_path / "answers.npy", teacher(x).numpy())
    stored = teachers.of_file(tmp_path / "answers.npy", len(x), None, 1.0)
    model, other = network(), network()
    Trainer(lesson(unlabelled, stored, epochs=3), QUIET)(model)
    Trainer(lesson(unlabelled, teachers.of_model(teacher, "t", 1.0), epochs=3), QUIET)(other)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_stored_answers_follow_the_samples_that_were_not_drawn_away(tmp_path: Path) -> None:
    np.save(tmp_path / "answers.npy", np.arange(20, dtype=np.float32).reshape(10, 2))
    stored = teachers.of_file(tmp_path / "answers.npy", 10, np.array([1, 4, 9]), 1.0)
    assert stored.outside is not None
    assert stored.outside(np.array([2, 0]), [])[0].tolist() == [[18, 19], [2, 3]]
    with pytest.raises(UsageError, match=r"holds answers to 10 samples, x_train has 12"):
        teachers.of_file(tmp_path / "answers.npy", 12, None, 1.0)


def test_stored_answers_and_augmentation_exclude_each_other(digits: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "answers.npy", np.zeros((600, 10), np.float32))
    stored = teachers.of_file(tmp_path / "answers.npy", 600, None, 1.0)
    with pytest.raises(UsageError, match="stored answers"):
        Trainer(lesson(digits, stored, augment="test_training:shifted"), QUIET)


@pytest.mark.parametrize(
    "part", ["feature", *(pytest.param(part, marks=pytest.mark.slow) for part in ("attention", "relation"))]
)
def test_compared_layers_become_alike(digits: Path, part: str) -> None:
    layers = tf_keras.layers

    def image_network(channels: int, seed: int) -> Any:
        tf_keras.utils.set_random_seed(seed)
        inputs = layers.Input((64,), name="pixels")
        x = layers.Reshape((8, 8, 1))(inputs)
        x = layers.Conv2D(channels, 3, activation="relu", name="conv")(x)
        return tf_keras.Model(inputs, layers.Dense(10, name="answer")(layers.Flatten()(x)))

    wide = image_network(8, 5)
    student = image_network(4, 1)
    x = np.load(digits / "x000.npy")[:100]

    def distance() -> float:
        theirs, ours = (tf_keras.Model(m.input, m.get_layer("conv").output)(x) for m in (wide, student))
        if part != "feature":
            return float(getattr(losses, part)(ours, theirs))
        # What is left of the teacher's layer when the student's is mapped to it as well as a linear map can.
        a, b = (layer.numpy().reshape(-1, layer.shape[-1]) for layer in (ours, theirs))
        rest = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]
        return float((rest**2).mean() / (b**2).mean())

    before = distance()
    parts = {"soft": 0.0, "hard": 0.0, part: 1.0, "pairs": (("conv", "conv"),)}
    guide = teachers.of_model(wide, "t", 1.0)
    Trainer(lesson(digits, guide, parts={**parts, "soft": 1e-6}, epochs=20, learning_rate=0.01), QUIET)(student)
    assert distance() < 0.75 * before


def test_layers_to_compare_must_exist_and_have_one_size(teacher: Any) -> None:
    student = network()
    with pytest.raises(UsageError, match=r'names the layer "hiden".*did you mean "hidden"'):
        objective.with_layers(student, ["hiden"])
    inputs = tf_keras.Input((8, 2))
    small = tf_keras.Model(inputs, tf_keras.layers.Conv1D(2, 3, name="conv")(inputs))
    large = tf_keras.Model(inputs, tf_keras.layers.Conv1D(2, 1, name="conv")(inputs))
    with pytest.raises(UsageError, match="may differ in their channels"):
        objective.projections([("conv", "conv")], large, small)


def test_layers_of_one_name_are_compared_where_no_pairs_are_given() -> None:
    inputs = tf_keras.Input((8,))
    x = inputs
    for number in range(9):
        x = tf_keras.layers.Dense(4, name=f"dense{number}")(x)
    model = tf_keras.Model(inputs, x)
    assert [pair[0] for pair in objective.default_pairs(model, model)] == ["dense1", "dense3", "dense5", "dense7"]


def test_two_trainings_of_one_seed_give_the_same_weights(digits: Path, teacher: Any) -> None:
    results = []
    for _ in range(2):
        model = network()
        Trainer(lesson(digits, teachers.of_model(teacher, "t", 1.0), epochs=3), QUIET)(model)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_hooks_are_called_around_each_step_with_the_share_that_is_done(digits: Path) -> None:
    called: list[tuple[str, float]] = []
    hooks = Hooks(lambda done: called.append(("before", done)), lambda done: called.append(("after", done)))
    trainer = Trainer(lesson(digits, epochs=2), QUIET)
    trainer(network(), hooks=hooks)
    steps = trainer.most_steps()
    assert called == [(when, (step + late) / steps) for step in range(steps) for late, when in enumerate(WHEN)]


WHEN = ("before", "after")


def test_the_best_epoch_is_kept_and_not_the_last(digits: Path) -> None:
    trainer = Trainer(lesson(digits, epochs=6, learning_rate=0.01), QUIET)
    model = network()

    def spoil(done: float) -> None:
        if done == 1:
            for variable in model.trainable_variables:
                variable.assign(tf.zeros_like(variable))

    trainer(model, hooks=Hooks(after_step=spoil))
    score = trainer.evidence.score(model)
    assert score is not None
    assert score > 0.5


def test_a_training_that_makes_nothing_better_says_so_and_leaves_the_network(digits: Path) -> None:
    model = network()
    before = model.get_weights()
    trainer = Trainer(lesson(digits, epochs=2, learning_rate=1e6), QUIET)
    trainer(model)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    assert "made nothing better" in trainer.notes[0]

    useful = Trainer(lesson(digits, epochs=2, learning_rate=0.01), QUIET)
    useful(network())
    assert useful.notes == []


def test_the_start_of_a_network_that_knows_nothing_is_not_chosen(digits: Path) -> None:
    model = network()
    before = model.get_weights()
    trainer = Trainer(lesson(digits, epochs=2, learning_rate=1e3), QUIET)
    trainer(model, hooks=Hooks(from_scratch=True))
    assert not any(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    assert "made nothing better" in trainer.notes[0]


def normed(seed: int = 1) -> Any:
    """A network of which batch norms are a part; its kernels are so large that moving averages start far off."""
    tf_keras.utils.set_random_seed(seed)
    layers, large = tf_keras.layers, tf_keras.initializers.RandomNormal(stddev=3.0)
    inputs = layers.Input((64,), name="pixels")
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Dense(32, kernel_initializer=large)(inputs)))
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="answer")(x))


def test_a_short_training_ends_with_batch_norms_that_are_current(digits: Path) -> None:
    found, model = lesson(digits, epochs=2, learning_rate=0.01), normed()
    Trainer(found, QUIET)(model, hooks=Hooks(from_scratch=True))

    rows = np.concatenate([arrays[0] for arrays in found.data.sample()])
    given = np.asarray(tf_keras.Model(model.inputs, model.get_layer("norm").input)(rows), np.float64)
    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_variance, given.var(axis=0), rtol=1e-3)
    assert np.abs(norm.moving_mean - given.mean(axis=0)).max() < 1e-3 * given.std()
    score = Trainer(found, QUIET).evidence.score(model)
    assert score is not None
    assert score > 0.5


def test_losses_that_decide_are_those_of_current_batch_norms(digits: Path) -> None:
    trainer, model = Trainer(lesson(digits), QUIET), normed()
    stale = trainer.evidence.loss(model)  # which brings them up to date
    model.get_layer("norm").moving_mean.assign(np.full(32, 50.0))
    assert trainer.evidence.loss(model) == pytest.approx(stale, rel=1e-4)


def test_networks_made_of_layers_of_one_have_the_losses_that_they_have_when_they_are_built(digits: Path) -> None:
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(3)
    x = inputs = layers.Input((64,), name="pixels")
    x = layers.Dense(16, activation="relu", name="stem")(x)
    x = layers.Add(name="sum")([x, layers.BatchNormalization(name="norm")(layers.Dense(16, name="inner")(x))])
    graph = building.read(tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="answer")(x)))
    (block,) = (found for found in blocks.find(graph) if found.residual)
    parts = [graph, blocks.drop(graph, block)]

    evidence = Trainer(lesson(digits), QUIET).evidence
    found = evidence.losses(graph, parts)
    assert found[0] != pytest.approx(found[1], rel=1e-2)
    # Of batch norms that have seen more rows.
    assert found == pytest.approx([evidence.loss(building.build(part)) for part in parts], rel=2e-2)


def test_only_settled_epochs_are_chosen_from(digits: Path) -> None:
    trainer = Trainer(lesson(digits, epochs=6, learning_rate=0.01), QUIET)
    model = network()

    def empty(done: float) -> None:
        if done > 0.7:
            model.get_layer("answer").bias.assign(np.full(10, 7.0))

    trainer(model, hooks=Hooks(after_step=empty, settled_from=0.9))
    assert model.get_layer("answer").bias.numpy().tolist() == [7.0] * 10


def test_training_ends_early_where_nothing_gets_better(digits: Path) -> None:
    done: list[float] = []
    trainer = Trainer(lesson(digits, epochs=50, patience=2, learning_rate=1e-9), QUIET)
    trainer(network(), hooks=Hooks(after_step=done.append))
    assert done[-1] < 1


def test_patience_is_in_epochs_and_begins_with_the_second_half(digits: Path) -> None:
    done: list[float] = []
    trainer = Trainer(lesson(digits, epochs=40, patience=3, learning_rate=1e-9), QUIET)
    trainer(network(), hooks=Hooks(after_step=done.append))
    assert 20 <= 40 * done[-1] <= 25


def test_a_network_that_gives_no_numbers_is_scored_as_that(digits: Path) -> None:
    model = network()
    model.get_layer("answer").bias.assign(np.full(10, np.nan))
    score = Trainer(lesson(digits), QUIET).evidence.score(model)
    assert score is not None
    assert np.isnan(score)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a millisecond each time it is looked at: nothing hangs on the machine's speed."""
    ticks = itertools.count()
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(ticks) * 1e-3)


@pytest.mark.usefixtures("ticking")
def test_time_ends_training_and_is_told(digits: Path) -> None:
    trainer = Trainer(lesson(digits, epochs=100_000)._replace(time_s=1.5), QUIET)
    model = network()
    trainer(model)
    assert "by [train] time" in trainer.notes[0]
    score = trainer.evidence.score(model)
    assert score is not None
    assert score > 0.3


@pytest.mark.usefixtures("ticking")
def test_a_training_takes_as_many_steps_as_its_time_is_worth_and_ends_with_the_least_rate(digits: Path) -> None:
    rates: dict[float, list[float]] = {}
    for time_s in (0.5, 2.0):
        found, learning_rate = lesson(digits, epochs=0)._replace(time_s=time_s), train_settings().learning_rate
        planned = pace.Pace(10**6, time_s, learning_rate)
        rates[time_s] = []
        for step in itertools.count():
            planned.begin(step)
            rates[time_s].append(planned.rate(step))
            if planned.is_last(step):
                break
        assert max(rates[time_s]) == pytest.approx(learning_rate, rel=0.05)
        assert rates[time_s][-1] < 0.05 * learning_rate
        Trainer(found, QUIET)(network())
    assert 3.5 * len(rates[0.5]) < len(rates[2.0]) < 4.5 * len(rates[0.5])


@pytest.mark.usefixtures("ticking")
def test_too_little_time_for_one_pass_over_the_train_split_is_said(digits: Path) -> None:
    trainer = Trainer(lesson(digits, epochs=0, batch_size=1)._replace(time_s=0.3), QUIET)
    trainer(network())
    assert "less than one pass over the train split" in trainer.notes[0]


def test_a_training_has_the_epochs_that_are_given_and_else_as_many_as_are_of_use(digits: Path) -> None:
    each = -(-540 // 64)
    assert Trainer(lesson(digits, epochs=3), QUIET).most_steps() == 3 * each
    assert Trainer(lesson(digits, epochs=4), QUIET).most_steps(0.5) == 2 * each
    assert Trainer(lesson(digits, epochs=0, batch_size=8), QUIET).most_steps() == 60 * -(-540 // 8)
    assert Trainer(lesson(digits, epochs=0, batch_size=540), QUIET).most_steps() == 600


def test_two_trainings_of_one_model_are_traced_once_and_begin_alike(digits: Path) -> None:
    model, trainer = network(), Trainer(lesson(digits, epochs=2, learning_rate=0.01), QUIET)
    before, results = model.get_weights(), []
    for _ in range(2):
        model.set_weights(before)
        trainer(model)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    fresh = network()
    Trainer(lesson(digits, epochs=2, learning_rate=0.01), QUIET)(fresh)
    np.testing.assert_array_equal(results[0][0], fresh.get_weights()[0])


def test_a_teacher_is_asked_about_each_sample_once(digits: Path, teacher: Any) -> None:
    asked = []

    def answer(tensors: list[Any]) -> list[Any]:
        tf.py_function(lambda x: asked.append(len(x)), tensors, [])
        return [teacher(tensors[0])]

    known = remembering(Teacher("t", 1.0, answer, None, teacher), [(10,)], 600)
    models = [network(), network()]
    found = lesson(digits, known, epochs=2)
    for model in models:
        Trainer(found, QUIET)(model)
    assert sum(asked) == 600
    same = network()
    Trainer(lesson(digits, teachers.of_model(teacher, "t", 1.0), epochs=2), QUIET)(same)
    np.testing.assert_allclose(same.get_weights()[0], models[0].get_weights()[0], atol=1e-5)
    assert remembering(found.teachers[0], [(10,)], 600) is found.teachers[0]
    large = teachers.of_model(teacher, "t", 1.0)
    assert remembering(large, [(10_000, 1_000)], 600) is large


# Data


def test_validation_is_never_learnt_from_and_the_same_each_time(digits: Path) -> None:
    data = data_of(digits)
    assert len(data.validation) == 60
    assert not set(data.validation.tolist()) & set(data.rows.tolist())
    assert data_of(digits).validation.tolist() == data.validation.tolist()
    seen: list[int] = []
    for number, (rows, _) in enumerate(data.shuffled()):
        seen += rows.tolist()
        if number + 1 == data.steps_per_epoch:
            break
    assert sorted(seen) == data.rows.tolist()


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + 100


def squeezed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x[:, :-1]


def test_augmentation_changes_what_is_learnt_from_and_not_what_is_chosen_by(digits: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    try:
        data = data_of(digits, augment="test_training:shifted")
        _, (x,) = next(data.shuffled())
        _, (validation,) = next(data.in_order(data.validation))
        spoilt = data_of(digits, augment="test_training:squeezed")
        with pytest.raises(StepError, match="same shape"):
            next(spoilt.shuffled())
    finally:
        sys.path.pop(0)
    assert x.min() >= 100
    assert validation.max() <= 1


def test_too_few_samples_are_said(tmp_path: Path) -> None:
    samples.save(Examples((np.zeros((1, 64), np.float32),)), tmp_path / "one")
    with pytest.raises(StepError, match="too few"):
        data_of(tmp_path / "one")


def test_what_outputs_that_are_not_scored_lose_is_said(digits: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    given = tf_keras.Input((64,))
    ends = [tf_keras.layers.Dense(size, name=name)(given) for size, name in ((10, "answer"), (2, "beside"))]
    model = tf_keras.Model(given, ends)
    original = building.read(model)
    trainer = Trainer(lesson(digits)._replace(original=original), QUIET)
    assert trainer.evidence.unscored(model) == {1: pytest.approx(0, abs=1e-9)}
    beside = model.get_layer("beside")
    beside.set_weights([0.9 * array for array in beside.get_weights()])
    (said,) = unscored(original, model, trainer)
    assert said == (
        "output beside is not scored: it differs from the original's by 1.0 % of its energy (validation samples)"
    )
    assert not unscored(building.read(network()), network(), trainer)
