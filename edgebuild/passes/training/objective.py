"""What a student is asked for: the weighted sum of what its teachers, the labels and paired layers say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from edgebuild.core.metric import Metric
from edgebuild.core.settings import DistillSettings
from edgebuild.errors import UsageError
from edgebuild.passes import calling
from edgebuild.passes.training import features, heads, losses
from edgebuild.passes.training.probing import Probe
from edgebuild.passes.training.teachers import Teacher


class Objective:
    """The loss of one student, as a function that TensorFlow can trace.

    Args:
        student: a tf_keras model.
        teachers: may be none.
        probe: tells what the teachers' outputs mean.
        distill: weights.
        metric: tells what plain outputs mean, and which output the labels are for.

    Raises:
        UsageError: nothing is left to learn from, or paired layers do not fit.
    """

    def __init__(
        self,
        student: Any,
        teachers: Sequence[Teacher],
        probe: Probe,
        distill: DistillSettings,
        metric: Metric,
        *,
        has_answers: bool,
    ) -> None:
        self._teachers, self._probe = teachers, probe
        self._distill, self._metric = distill, metric
        self._has_answers = has_answers and distill.hard > 0
        self._guided = bool(distill.feature or distill.attention or distill.relation)
        guide = next((teacher.model for teacher in teachers if teacher.model is not None), None)
        if self._guided and guide is None:
            raise UsageError("[distill] compares layers, and no teacher is a Keras model")
        pairs = (distill.pairs or features.default_pairs(guide, student)) if self._guided else ()
        if self._guided and not pairs:
            raise UsageError(
                "[distill] compares layers, and teacher and student have none of the same name",
                remedy='Name them: pairs = [["teacher\'s layer", "student\'s layer"]].',
            )
        self._student = features.with_layers(student, [ours for _, ours in pairs])
        self._guide = features.with_layers(guide, [theirs for theirs, _ in pairs]) if pairs else None
        self._projections = features.projections(pairs, guide, student) if distill.feature else []
        self._model = student

    @property
    def variables(self) -> list[Any]:
        """What training changes: the student's weights, and the projections of its layers."""
        return [
            *self._model.trainable_variables,
            *(v for layer in self._projections if layer for v in layer.trainable_variables),
        ]

    def loss(self, x: Any, y: Any, outside: Any, *, training: bool) -> Any:
        """The loss of a batch.

        Args:
            x: a list of tensors, one for each input.
            y: labels, or None.
            outside: for each teacher that is no part of the graph the list of its outputs.
            training: whether batch norm and dropout learn.
        """
        outputs, layers = self._student(calling.packed(x), training=training)
        outputs = tf.nest.flatten(outputs)
        taught = [heads.of_output(output, self._metric) for output in outputs]
        scales = self._probe.scales([head for head, _ in taught])
        total = tf.add_n(self._model.losses) if training and self._model.losses else tf.constant(0.0)
        if self._has_answers:
            head, tensor = taught[self._metric.output]
            scale, ignores = scales[self._metric.output], self._metric.ignore is not None
            total += self._distill.hard * losses.hard(tensor, y, head, scale, ignores=ignores)
        if self._teachers and self._distill.soft:
            total += self._distill.soft * self._soft(x, taught, scales, outside)
        if self._guide is not None:
            total += self._compared(x, layers)
        return total

    def _soft(self, x: Any, taught: Sequence[tuple[heads.Head, Any]], scales: Sequence[float], outside: Any) -> Any:
        given, all_likely = iter(outside), self._probe.likely([head for head, _ in taught])
        whole = sum(teacher.weight for teacher in self._teachers)
        total = tf.constant(0.0)
        for teacher, likely in zip(self._teachers, all_likely, strict=True):
            answers = next(given) if teacher.in_graph is None else teacher.in_graph(x)
            rows = zip(answers, taught, likely, scales, strict=True)
            for answer, (head, tensor), is_likely, scale in rows:
                wanted = heads.logits_of_results(tf.cast(answer, tf.float32), head, likely=is_likely)
                part = losses.soft(tensor, tf.stop_gradient(wanted), head, self._distill.temperature, scale)
                total += teacher.weight / whole * part
        return total

    def _compared(self, x: Any, layers: Sequence[Any]) -> Any:
        assert self._guide is not None
        _, wanted = self._guide(calling.packed(x), training=False)
        total = tf.constant(0.0)
        for place, (ours, theirs) in enumerate(zip(layers, map(tf.stop_gradient, wanted), strict=True)):
            if self._distill.feature:
                projection = self._projections[place]
                total += self._distill.feature * losses.feature(projection(ours) if projection else ours, theirs)
            if self._distill.attention and ours.shape.rank > 2:
                total += self._distill.attention * losses.attention(ours, theirs)
            if self._distill.relation:
                total += self._distill.relation * losses.relation(ours, theirs)
        return total / max(1, len(layers))
