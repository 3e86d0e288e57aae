"""Training by one lesson, as the passes see it: learn, score, show what matters."""

from __future__ import annotations

import math
import time
from typing import Any

from edgebuild.actions.compression import Unseen
from edgebuild.child import Say
from edgebuild.core.metric import Metric
from edgebuild.errors import UsageError
from edgebuild.passes.training.evidence import Evidence
from edgebuild.passes.training.hooks import Hooks
from edgebuild.passes.training.learning import Learning
from edgebuild.passes.training.lesson import Lesson
from edgebuild.passes.training.loop import Loop, between_comparisons
from edgebuild.passes.training.objective import Objective
from edgebuild.passes.training.pace import Pace, Speed
from edgebuild.passes.training.teachers import require_fit
from edgebuild.units import format_share

# Where epochs are not given, at most so many in all, and so many steps where an epoch has few: what they do not teach
# more of them do not.
_MOST_EPOCHS, _FEW_STEPS = 60, 600
# A training for which no time is left has this share of its own all the same: what came before it was for it.
_LEAST = 0.25
# What is done after the last training takes this share of the time.
_AFTER = 0.03
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
        self._started = lesson.started
        self.evidence = Evidence(lesson)
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

    @property
    def metric(self) -> Metric:
        """What networks are scored by."""
        return self._lesson.metric

    @property
    def validation_samples(self) -> int:
        """How many samples scores and losses are of."""
        return len(self._lesson.data.validation)

    @property
    def counts_epochs(self) -> bool:
        """Whether the settings say how long a training is; time only ends it then."""
        return self._lesson.train.epochs > 0

    @property
    def time_s(self) -> float:
        """The time for all training, in seconds."""
        return self._lesson.time_s

    @property
    def spent_s(self) -> float:
        """How long it is since the lesson began, in seconds."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """The share of all the time for training that has not gone by, whatever it was spent on; 0 at least."""
        return max(0.0, 1 - _AFTER - self.spent_s / self._lesson.time_s)

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
        """How many of these there is time for at the speed of the training before; 0 where there was none."""
        if self.counts_epochs:
            return self.most_steps(part)
        speed, time_s = self._speed, self._time_s(part)
        fitting = int((time_s - speed.first_s) / speed.step_s) if speed.step_s else 0
        return max(0, min(self.most_steps(part), fitting))

    def _time_s(self, part: float) -> float:
        return self._lesson.time_s * max(min(part, self.left), _LEAST * part)

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
            self.evidence.probe.require_fit(model)
            objective = Objective(
                model,
                lesson.teachers,
                self.evidence.probe,
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
