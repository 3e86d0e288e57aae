"""The loop: seeded batches, a learning rate that rises and falls, the best epoch kept, an end in time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.child import Say
from edgebuild.core.settings import DistillSettings, Metric, TrainSettings
from edgebuild.errors import UsageError
from edgebuild.metrics import score
from edgebuild.passes.training import heads, losses
from edgebuild.passes.training.data import Rows, TrainData
from edgebuild.passes.training.hooks import Hooks
from edgebuild.passes.training.objective import Objective, heads_of
from edgebuild.passes.training.teachers import Teacher, require_fit
from edgebuild.stats import median
from edgebuild.units import format_seconds, format_share

_STEPS_A_MINUTE = 200
_RISE = 0.05  # of the steps, until the learning rate is at its highest
# Steps by which the speed is known: the first ones trace the graph, and an odd batch traces it again.
_TIMED_FROM, _TIMED_TO = 3, 13
_MOST_VALIDATIONS = 50
_PROBED = 256  # samples that show what a teacher gives


class Lesson(NamedTuple):
    """All that trainings of one target share: `time_s` is for all of them together."""

    data: TrainData
    teachers: Sequence[Teacher]
    train: TrainSettings
    distill: DistillSettings
    metric: Metric
    time_s: float
    seed: int


class Best(NamedTuple):
    """The weights with the least validation loss so far."""

    loss: float
    weights: list[Any]


class Trainer:
    """Trains networks on one lesson; a `Fit`.

    Raises:
        UsageError: teachers and data do not fit together.
    """

    def __init__(self, lesson: Lesson, say: Say) -> None:
        self._lesson = lesson
        self._say = say
        self.notes: list[str] = []
        require_fit(lesson.teachers, augments=lesson.data.augments)
        labels, taught = lesson.data.has_answers and lesson.distill.hard > 0, lesson.teachers and lesson.distill.soft
        if not labels and not taught:
            raise UsageError(
                "there is nothing to learn from",
                "There are neither labels (y_train) nor teachers, or their weights are 0.",
                "Give y_train, or leave [distill] original and soft above 0.",
            )

    @property
    def metric(self) -> Metric:
        """What networks are scored by."""
        return self._lesson.metric

    def steps(self, part: float = 1.0) -> int:
        """How many optimizer steps a training takes at most: the given epochs, else what its time is worth."""
        train, each = self._lesson.train, self._lesson.data.steps_per_epoch
        worth = round(_STEPS_A_MINUTE * self._lesson.time_s / 60)
        whole = train.epochs * each if train.epochs else max(each, worth)
        return max(1, round(part * whole))

    def score(self, model: Any) -> float | None:
        """The metric on the validation part; None where there are no labels, NaN where the model gives no numbers."""
        data = self._lesson.data
        y = data.answers(data.validation)
        if y is None:
            return None
        outputs = self.outputs(model, data.validation)[self._lesson.metric.output]
        return score(outputs, y, self._lesson.metric) if np.isfinite(outputs).all() else math.nan

    def loss(self, model: Any) -> float:
        """The mean loss of a model over the validation part, from the labels where there are any."""
        batches = list(self._with_targets(self._lesson.data.validation))
        function = tf.function(
            lambda x, wanted: self.criterion(wanted, model(x if len(x) > 1 else x[0], training=False)),
            autograph=False,
            reduce_retracing=True,
        )
        sizes = [len(wanted) for _, wanted in batches]
        losses = [float(function([tf.constant(array) for array in x], tf.constant(wanted))) for x, wanted in batches]
        return float(np.average(losses, weights=sizes))

    def batches(self, count: int) -> list[tuple[Any, Any]]:
        """The first batches of the rows to learn from, each with what `criterion` takes."""
        rows = np.random.default_rng([self._lesson.seed, 2]).permutation(self._lesson.data.rows)
        found = self._with_targets(rows[: count * self._lesson.data.batch_size])
        return [(x if len(x) > 1 else x[0], wanted) for x, wanted in found]

    def criterion(self, wanted: Any, outputs: Any) -> Any:
        """The loss of a batch: against labels where there are any, else against the first teacher's answers."""
        output = tf.nest.flatten(outputs)[self._lesson.metric.output]
        head, taught = heads.of_output(output, self._lesson.metric)
        if self._lesson.data.has_answers:
            return losses.hard(taught, wanted, head)
        return losses.soft(taught, heads.logits_of_results(wanted, head, likely=self._is_likely(head)), head, 1.0)

    def _is_likely(self, head: heads.Head) -> bool:
        """Whether the first teacher's answers are probabilities."""
        rows = self._lesson.data.validation[:_PROBED]
        with tf.init_scope():  # asked while a loss is traced
            return heads.is_likely(self._taught(rows, self._lesson.data.take(rows)), head)

    def _with_targets(self, rows: Rows) -> Iterator[tuple[list[Any], Any]]:
        for some, x in self._lesson.data.in_order(rows):
            wanted = self._lesson.data.answers(some)
            yield x, self._taught(some, x) if wanted is None else wanted

    def _taught(self, rows: Rows, x: list[Any]) -> Any:
        teacher = self._lesson.teachers[0]
        if teacher.in_graph is not None:
            return teacher.in_graph([tf.constant(array) for array in x])[self._lesson.metric.output].numpy()
        assert teacher.outside is not None
        return teacher.outside(rows, x)[0]

    def outputs(self, model: Any, rows: Rows) -> list[Any]:
        """The outputs of a model for rows of the train split, each [rows, ...]."""
        function = tf.function(lambda *x: tf.nest.flatten(model(list(x) if len(x) > 1 else x[0], training=False)))
        parts = [[out.numpy() for out in function(*map(tf.constant, x))] for _, x in self._lesson.data.in_order(rows)]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def __call__(self, model: Any, *, hooks: Hooks = Hooks(), part: float = 1.0) -> None:  # noqa: B008 - is frozen
        """Train in place; afterwards the model has the weights of its best epoch.

        Raises:
            UsageError: there is nothing to learn from, or paired layers do not fit.
        """
        _Run(self._lesson, self._say, model, hooks, self.steps(part), self._lesson.time_s * part, self.notes).go()


class _Run:
    """One training of one model."""

    def __init__(
        self, lesson: Lesson, say: Say, model: Any, hooks: Hooks, steps: int, time_s: float, notes: list[str]
    ) -> None:
        self._lesson, self._say, self._model, self._hooks = lesson, say, model, hooks
        self._notes = notes
        self._steps = steps
        self._time_s = time_s
        self._ends_at = math.inf
        self._outside = [teacher for teacher in lesson.teachers if teacher.in_graph is None]
        likely, scales = self._probed()
        self._objective = Objective(
            model,
            lesson.teachers,
            likely,
            scales,
            lesson.distill,
            lesson.metric,
            has_answers=lesson.data.has_answers,
        )
        self._optimizer = tf_keras.optimizers.Adam(lesson.train.learning_rate)
        self._step = tf.function(self._learn, autograph=False, reduce_retracing=True)
        self._loss = tf.function(
            lambda x, y, outside: self._objective.loss(x, y, outside, training=False),
            autograph=False,
            reduce_retracing=True,
        )

    def go(self) -> None:
        tf_keras.utils.set_random_seed(self._lesson.seed)
        round_steps = max(self._lesson.data.steps_per_epoch, self._steps // _MOST_VALIDATIONS)
        # Training never leaves a network worse than it was, unless it is changed meanwhile by design.
        best = Best(self._validate(), self._weights()) if not self._hooks.settled_from else None
        waited, times_s = 0, list[float]()
        self._started = time.monotonic()
        for step, (rows, x) in enumerate(self._lesson.data.shuffled()):
            if step == _TIMED_FROM:
                self._ends_at = time.monotonic() + self._time_s
            if step == _TIMED_TO:
                self._shorten(step, median(times_s))
            before_s = time.monotonic()
            self._one(step, rows, x)
            times_s.append(time.monotonic() - before_s)
            is_last = step + 1 >= self._steps or time.monotonic() >= self._ends_at
            if is_last or (step + 1) % round_steps == 0:
                settled = is_last or step + 1 >= self._hooks.settled_from * self._steps
                loss = self._validate()
                better = best is None or not math.isfinite(best.loss) or loss < best.loss
                if settled and better:
                    best = Best(loss, self._weights())
                # The learning rate has to fall before it can be told that nothing gets better.
                waited = 0 if better or not settled or step + 1 < self._steps / 2 else waited + 1
                self._tell(step + 1, loss)
            patience = self._lesson.train.patience
            rounds = math.ceil(patience * self._lesson.data.steps_per_epoch / round_steps)
            if is_last or (patience and waited >= rounds):
                break
        assert best is not None, "the last step is validated"
        for variable, value in zip(self._model.variables, best.weights, strict=True):
            variable.assign(value)

    def _weights(self) -> list[Any]:
        return [variable.numpy() for variable in self._model.variables]

    def _one(self, step: int, rows: Rows, x: list[Any]) -> None:
        self._hooks.before_step(step)
        self._optimizer.learning_rate.assign(self._rate(step))
        self._step(*self._batch(rows, x))
        self._hooks.after_step(step)

    def _learn(self, x: Any, y: Any, outside: Any) -> None:
        with tf.GradientTape() as tape:
            loss = self._objective.loss(x, y, outside, training=True)
        variables = self._objective.variables
        gradients = tape.gradient(loss, variables)
        pairs = [(gradient, v) for gradient, v in zip(gradients, variables, strict=True) if gradient is not None]
        self._optimizer.apply_gradients(pairs)

    def _batch(self, rows: Rows, x: list[Any]) -> tuple[Any, Any, Any]:
        y = self._lesson.data.answers(rows)
        outside = [[tf.constant(a) for a in teacher.outside(rows, x)] for teacher in self._outside if teacher.outside]
        return [tf.constant(array) for array in x], None if y is None else tf.constant(y), outside

    def _validate(self) -> float:
        """The mean loss over the validation part."""
        data = self._lesson.data
        found = [(len(rows), float(self._loss(*self._batch(rows, x)))) for rows, x in data.in_order(data.validation)]
        return sum(count * loss for count, loss in found) / len(data.validation)

    def _rate(self, step: int) -> float:
        """The learning rate of a step: a linear rise, then half a cosine (Loshchilov and Hutter 2017, SGDR, eq. 5)."""
        highest, rise = self._lesson.train.learning_rate, max(1, round(_RISE * self._steps))
        if step < rise:
            return highest * (step + 1) / rise
        return highest * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self._steps - rise)))

    def _shorten(self, step: int, step_s: float) -> None:
        """Plan fewer steps where the machine is too slow for all, so that the learning rate still falls to its end."""
        fitting = step + max(1, int((self._ends_at - time.monotonic()) / max(step_s, 1e-9)))
        if fitting < self._steps:
            self._notes.append(
                f"training was cut from {self._steps:,} to {fitting:,} steps by [train] time; "
                "give more (--time) for a better network"
            )
            self._steps = fitting

    def _tell(self, step: int, loss: float) -> None:
        took = time.monotonic() - self._started
        left = min(took / step * (self._steps - step), self._ends_at - time.monotonic())
        self._say(f"step {step:,} of {self._steps:,}, validation loss {loss:.4f}, {format_seconds(max(0, left))} left")

    def _probed(self) -> tuple[list[list[bool]], list[float]]:
        """For each teacher and output whether it is probabilities, and for each output the variance of its values.

        Raises:
            UsageError: a teacher cannot answer, or not in the shape of the network's outputs.
        """
        data, shapes = self._lesson.data, [tuple(tensor.shape[1:]) for tensor in self._model.outputs]
        rows, found = data.validation[:_PROBED], heads_of(self._model, self._lesson.metric)
        answers = [self._answers(teacher, rows) for teacher in self._lesson.teachers]
        for teacher, given in zip(self._lesson.teachers, answers, strict=True):
            if [answer.shape[1:] for answer in given] != shapes:
                raise UsageError(
                    f"the teacher {teacher.name} answers in the shapes {[list(a.shape[1:]) for a in given]}, "
                    f"the network in {[list(shape) for shape in shapes]}"
                )
        likely = [[heads.is_likely(a, head) for a, head in zip(given, found, strict=True)] for given in answers]
        y = data.answers(data.rows)
        first = answers[0] if answers else [y] * len(shapes)
        scales = [
            _variance(values) if head == heads.Head.VALUES else 1.0 for values, head in zip(first, found, strict=True)
        ]
        return likely, scales

    def _answers(self, teacher: Teacher, rows: Rows) -> list[Any]:
        x = self._lesson.data.take(rows)
        try:
            if teacher.in_graph is not None:
                return [answer.numpy() for answer in teacher.in_graph([tf.constant(array) for array in x])]
            assert teacher.outside is not None
            return teacher.outside(rows, x)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(f"the teacher {teacher.name} cannot answer the train samples", reason) from None


def _variance(values: Any) -> float:
    """Of values over the data; 1 where they do not vary."""
    return float(np.var(values)) or 1.0


def in_words(value: float | None, metric: Metric) -> str:
    """A validation score for people."""
    if value is None:
        return "no labels"
    if math.isnan(value):
        return "no numbers"
    return f"{metric.label} {format_share(value) if metric.is_share else f'{value:.4g}'}"
