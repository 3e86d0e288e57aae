"""Training by one lesson, as the passes see it: learn, score, show what matters."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.child import Say
from edgebuild.core.metric import Metric
from edgebuild.errors import UsageError
from edgebuild.metrics import score
from edgebuild.passes import calling
from edgebuild.passes.jobs import Unseen
from edgebuild.passes.training import heads, losses
from edgebuild.passes.training.data import Rows
from edgebuild.passes.training.hooks import Hooks
from edgebuild.passes.training.learning import Learning
from edgebuild.passes.training.lesson import Lesson
from edgebuild.passes.training.loop import Loop, between_comparisons
from edgebuild.passes.training.objective import Objective, heads_of
from edgebuild.passes.training.pace import Pace, Speed
from edgebuild.passes.training.probing import Probe
from edgebuild.passes.training.statistics import BatchNorms
from edgebuild.passes.training.teachers import require_fit
from edgebuild.passes.training.tracing import Batchwise
from edgebuild.units import format_share

# Where epochs are not given, at most so many in all, and so many steps where an epoch has few: what they do not teach
# more of them do not.
_MOST_EPOCHS, _FEW_STEPS = 60, 600
# A training for which no time is left has this share of its own all the same: what came before it was for it.
_LEAST = 0.5
# Shorter ones compare, or begin what others finish: whether they make anything better is nothing to be told.
_WHOLE = 0.5


class Trainer:
    """Trains networks on one lesson; a `Fit`.

    Raises:
        UsageError: teachers and data do not fit together.
    """

    def __init__(self, lesson: Lesson, say: Say) -> None:
        self._lesson = lesson
        self._say = say
        self.notes: list[str] = []
        self._started = time.monotonic()
        self._last: tuple[Any, BatchNorms] | None = None
        self._learning: Learning | None = None  # of the model that was trained last
        self._speed = Speed()
        require_fit(lesson.teachers, augments=lesson.data.augments)
        labels, taught = lesson.data.has_answers and lesson.distill.hard > 0, lesson.teachers and lesson.distill.soft
        if not labels and not taught:
            raise UsageError(
                "there is nothing to learn from",
                "There are neither labels (y_train) nor teachers, or their weights are 0.",
                "Give y_train, or leave [distill] original and soft above 0.",
            )

    @functools.cached_property
    def _probe(self) -> Probe:
        return Probe(self._lesson.teachers, self._lesson.data)

    @property
    def metric(self) -> Metric:
        """What networks are scored by."""
        return self._lesson.metric

    @property
    def validation_samples(self) -> int:
        """How many samples `score` and `loss` are of."""
        return len(self._lesson.data.validation)

    @property
    def counts_epochs(self) -> bool:
        """Whether the settings say how long a training is; time only ends it then."""
        return self._lesson.train.epochs > 0

    @property
    def left(self) -> float:
        """The share of all the time for training that has not gone by, whatever it was spent on; 0 at least."""
        return max(0.0, 1 - (time.monotonic() - self._started) / self._lesson.time_s)

    @property
    def unseen(self) -> Unseen | None:
        """How the original does on samples that it did not learn."""
        return self._lesson.unseen

    def most_steps(self, part: float = 1.0) -> int:
        """How many optimizer steps a training takes at most: by the given epochs, else by what is of use."""
        train, each = self._lesson.train, self._lesson.data.steps_per_epoch
        whole = train.epochs * each if train.epochs else max(_MOST_EPOCHS * each, _FEW_STEPS)
        return max(1, round(part * whole))

    def expected_steps(self, part: float = 1.0) -> int:
        """How many of these there is time for at the speed of the training before; all where there was none."""
        most, step_s = self.most_steps(part), self._speed.step_s
        return min(most, int(self._time_s(part) / step_s)) if step_s else most

    def _time_s(self, part: float) -> float:
        return self._lesson.time_s * max(min(part, self.left), _LEAST * part)

    def score(self, model: Any) -> float | None:
        """The metric on the validation part; None where there are no labels, NaN where the model gives no numbers."""
        data = self._lesson.data
        y = data.answers(data.validation)
        if y is None:
            return None
        outputs = self.outputs(model, data.validation)[self._lesson.metric.output]
        return score(outputs, y, self._lesson.metric) if np.isfinite(outputs).all() else math.nan

    def loss(self, model: Any) -> float:
        """The mean loss of a model over the validation part, from the labels where there are any.

        Its batch norms are brought up to date first.
        """
        self.refresh(model)
        batches = list(self._with_targets(self._lesson.data.validation))
        function = Batchwise(lambda x, wanted: self.criterion(wanted, calling.outputs(model, x)))
        sizes = [len(wanted) for _, wanted in batches]
        found = [float(function([tf.constant(array) for array in x], tf.constant(wanted))) for x, wanted in batches]
        return float(np.average(found, weights=sizes))

    def refresh(self, model: Any) -> None:
        """Give the batch norms of a model that was changed the statistics of what they are given now."""
        if self._last is None or self._last[0] is not model:  # passes ask for many losses of one model in turn
            self._last = (model, BatchNorms(model))
        self._last[1].bring_up_to_date(self._lesson.data.sample())

    def batches(self, count: int) -> list[tuple[Any, Any]]:
        """The first batches of the rows to learn from, each with what `criterion` takes."""
        rows = np.random.default_rng([self._lesson.seed, 2]).permutation(self._lesson.data.rows)
        found = self._with_targets(rows[: count * self._lesson.data.batch_size])
        return [(calling.packed(x), wanted) for x, wanted in found]

    def criterion(self, wanted: Any, outputs: Any) -> Any:
        """The loss of a batch: against labels where there are any, else against the first teacher's answers."""
        output = tf.nest.flatten(outputs)[self._lesson.metric.output]
        head, taught = heads.of_output(output, self._lesson.metric)
        if self._lesson.data.has_answers:
            return losses.hard(taught, wanted, head)
        likely = self._probe.first_is_likely(self._lesson.metric.output, head)
        return losses.soft(taught, heads.logits_of_results(wanted, head, likely=likely), head, 1.0)

    def _with_targets(self, rows: Rows) -> Iterator[tuple[list[Any], Any]]:
        for some, x in self._lesson.data.in_order(rows):
            wanted = self._lesson.data.taught(some)
            if wanted is None:
                wanted = self._lesson.teachers[0].answers(some, x)[self._lesson.metric.output]
            yield x, wanted

    def outputs(self, model: Any, rows: Rows) -> list[Any]:
        """The outputs of a model for rows of the train split, each [rows, ...]."""
        function = Batchwise(lambda *x: calling.outputs(model, x))
        parts = [[out.numpy() for out in function(*map(tf.constant, x))] for _, x in self._lesson.data.in_order(rows)]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def __call__(self, model: Any, *, hooks: Hooks = Hooks(), part: float = 1.0) -> None:  # noqa: B008 - is frozen
        """Train in place; afterwards the model has the weights of its best epoch.

        Raises:
            UsageError: teachers or paired layers do not fit.
        """
        lesson, most = self._lesson, self.most_steps(part)
        between = between_comparisons(lesson, most)
        pace = Pace(most, self._time_s(part), lesson.train.learning_rate, between, self._speed)
        outcome = Loop(lesson, self._learning_of(model), hooks, pace, self._say).run()
        self._speed = pace.speed
        if part >= _WHOLE and not hooks.settled_from and not outcome.is_better:
            self.notes.append(
                f"{outcome.steps:,} steps of training made nothing better: the validation loss is {outcome.end:.4f}, "
                f"and was {outcome.start:.4f} before"
            )
        if outcome.steps < most and pace.is_short_of_time:
            self._say_short(outcome.steps, most, part)

    def _learning_of(self, model: Any) -> Learning:
        """What trains a model; that of the training before where it is the same one."""
        if self._learning is None or self._learning.model is not model:
            lesson = self._lesson
            self._probe.require_fit(model)
            found = heads_of(model, lesson.metric)
            objective = Objective(
                model,
                lesson.teachers,
                self._probe.likely(found),
                self._probe.scales(found),
                lesson.distill,
                lesson.metric,
                has_answers=lesson.data.has_answers,
            )
            self._learning = Learning(lesson, model, objective)
        return self._learning

    def _say_short(self, steps: int, most: int, part: float) -> None:
        """Say that time was short, where more of it would have been of use."""
        epochs = self._lesson.train.epochs
        if epochs:
            self.notes.append(
                f"training was cut from {most:,} to {steps:,} steps by [train] time; "
                "give more (--time) for a better network"
            )
        elif part >= _WHOLE and steps < self._lesson.data.steps_per_epoch:
            self.notes.append(
                f"[train] time was enough for {steps:,} steps of training, less than one pass over the train split "
                f"({self._lesson.data.steps_per_epoch:,} steps); give more (--time) for a better network"
            )


def in_words(value: float | None, metric: Metric) -> str:
    """A validation score for people."""
    if value is None:
        return "no labels"
    if math.isnan(value):
        return "no numbers"
    return f"{metric.label} {format_share(value) if metric.is_share else f'{value:.4g}'}"
