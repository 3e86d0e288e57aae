"""Training by one lesson, as the passes see it: learn, score, show what matters."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.actions.compression import Unseen
from edgebuild.child import Say
from edgebuild.core.metric import Metric
from edgebuild.errors import UsageError
from edgebuild.metrics import score
from edgebuild.passes import calling
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.training import heads, losses
from edgebuild.passes.training.data import ENOUGH_ROWS, SELDOM, Batchwise, Rows
from edgebuild.passes.training.heads import Probe
from edgebuild.passes.training.loop import Hooks, Learning, Lesson, Loop, between_comparisons
from edgebuild.passes.training.objective import Objective
from edgebuild.passes.training.pace import Pace, Speed
from edgebuild.passes.training.statistics import BatchNorms
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
# Networks of which many are compared with each other: so many rows tell which is the better.
_FEW_ROWS = 256


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
        self.evidence = _Evidence(lesson)
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


class _Evidence:
    """Measures networks on the samples of a lesson.

    All whose loss is asked for end alike: they are what a pass makes of one network.
    """

    def __init__(self, lesson: Lesson) -> None:
        self._lesson, self._data = lesson, lesson.data
        self._last: _Measured | None = None  # passes ask about one model again and again
        self._ending: heads.Ending | None = None
        self._wanted: list[Any] | None = None  # outputs of the original for the validation part

    @functools.cached_property
    def probe(self) -> Probe:
        """What teachers say to a few samples."""
        return Probe(self._lesson.teachers, self._data)

    def score(self, model: Any) -> float | None:
        """The metric on the validation part; None where there are no labels, NaN where the model gives no numbers."""
        y = self._data.answers(self._data.validation)
        if y is None:
            return None
        outputs = self.outputs(model, self._data.validation)[self._lesson.metric.output]
        return score(outputs, y, self._lesson.metric) if np.isfinite(outputs).all() else math.nan

    def standing(self, model: Any) -> float | None:
        """The score; without labels the error of the outputs; None where the original is not known either."""
        if self._data.has_answers or self._lesson.original is None:
            return self.score(model)
        return max(self._errors(model, self._lesson.original))

    def unscored(self, model: Any) -> dict[int, float]:
        """By its position, the error of each output that the metric does not look at; empty without the original."""
        outputs = len(tf.nest.flatten(model.outputs))
        if outputs == 1 or self._lesson.original is None or not self._data.has_answers:
            return {}
        errors = enumerate(self._errors(model, self._lesson.original))
        return {position: error for position, error in errors if position != self._lesson.metric.output}

    def _errors(self, model: Any, original: Graph) -> list[float]:
        if self._wanted is None:
            self._wanted = self.outputs(building.build(original), self._data.validation)
        found = self.outputs(model, self._data.validation)
        return [_error(ours, theirs) for ours, theirs in zip(found, self._wanted, strict=True)]

    def outputs(self, model: Any, rows: Rows) -> list[Any]:
        """The outputs of a model for rows of the train split, each [rows, ...]."""
        call = self._measured(model).outputs
        parts = [[out.numpy() for out in call(*map(tf.constant, x))] for _, x in self._data.in_order(rows)]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def loss(self, model: Any) -> float:
        """The mean loss of a model over the validation part, from the labels where there are any.

        Its batch norms are brought up to date first, near enough to compare by.
        """
        self.refresh(model)
        return self._loss(self._measured(model).outputs, self._ending_of(model), self._data.validation)

    def losses(self, graph: Graph, parts: Sequence[Graph]) -> list[float]:
        """The losses of networks that are made of layers of one, on some of the validation part, to be compared.

        They are not built: it would take longer than to run them.
        """
        model = building.build(graph)
        ending = self._ending_of(model)
        layers = {name: model.get_layer(name) for name in graph.layers}
        rows, found = self._data.validation[:_FEW_ROWS], []
        for part in parts:
            call = functools.partial(_run, part, layers)
            BatchNorms([layers[name] for name in part.layers], call).bring_up_to_date(self._data.sample(_FEW_ROWS))
            found.append(self._loss(call, ending, rows))
        return found

    def refresh(self, model: Any) -> None:
        """Give the batch norms of a model that was changed statistics that are near enough to compare by."""
        self._measured(model).norms.bring_up_to_date(self._data.sample(ENOUGH_ROWS))

    def batches(self, count: int) -> list[tuple[Any, Any]]:
        """The first batches of the rows to learn from, each with what `criterion` takes."""
        rows = np.random.default_rng([self._lesson.seed, 2]).permutation(self._data.rows)
        found = self._with_targets(rows[: count * self._data.batch_size])
        return [(calling.packed(x), wanted) for x, wanted in found]

    def criterion(self, wanted: Any, outputs: Any) -> Any:
        """The loss of a batch in a graph: against labels where there are any, else the first teacher's outputs."""
        output = tf.nest.flatten(outputs)[self._lesson.metric.output]
        return self._criterion(wanted, *heads.of_output(output, self._lesson.metric))

    def _ending_of(self, model: Any) -> heads.Ending:
        """How the scored output ends, found by the first network that is asked about."""
        if self._ending is None:
            self._ending = heads.endings_of(model, self._lesson.metric)[self._lesson.metric.output]
        return self._ending

    def _loss(self, call: Callable[..., Sequence[Any]], ending: heads.Ending, rows: Rows) -> float:
        total = 0.0
        for x, wanted in self._with_targets(rows):
            output = call(*map(tf.constant, x))[self._lesson.metric.output]
            taught = heads.logits_of_results(output, ending.head, likely=ending.likely)
            total += len(wanted) * float(self._criterion(tf.constant(wanted), ending.head, taught))
        return total / len(rows)

    def _criterion(self, wanted: Any, head: heads.Head, taught: Any) -> Any:
        if self._data.has_answers:
            return losses.hard(taught, wanted, head, ignores=self._lesson.metric.ignore is not None)
        likely = self.probe.first_is_likely(self._lesson.metric.output, head)
        return losses.soft(taught, heads.logits_of_results(wanted, head, likely=likely), head, 1.0)

    def _with_targets(self, rows: Rows) -> Iterator[tuple[list[Any], Any]]:
        for some, x in self._data.in_order(rows):
            wanted = self._data.taught(some)
            if wanted is None:
                wanted = self._lesson.teachers[0].answers(some, x)[self._lesson.metric.output]
            yield x, wanted

    def _measured(self, model: Any) -> _Measured:
        if self._last is None or self._last.model is not model:
            self._last = _Measured(model)
        return self._last


class _Measured:
    """A model and what measures it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.norms = BatchNorms.of(model)
        self.outputs = Batchwise(lambda *x: calling.outputs(model, x), eager=SELDOM)


def _error(found: Any, wanted: Any) -> float:
    """The energy of what outputs differ by, as a share of their own; NaN where they are no numbers."""
    energy = float(np.mean(np.square(wanted, dtype=np.float64)))
    error = float(np.mean(np.square(np.subtract(found, wanted, dtype=np.float64))))
    return error / energy if energy else error


def _run(graph: Graph, layers: dict[str, Any], *x: Any) -> list[Any]:
    return building.run(graph, layers, dict(zip((item.tensor for item in graph.inputs), x, strict=True)))
