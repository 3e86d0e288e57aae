"""What a student is asked for: the weighted sum of what its teachers, the labels and paired layers say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from edgebuild.core.metric import Metric
from edgebuild.core.settings import DistillSettings
from edgebuild.decode import require_known
from edgebuild.errors import UsageError
from edgebuild.passes import calling
from edgebuild.passes.training import heads, losses
from edgebuild.passes.training.heads import Probe
from edgebuild.passes.training.teachers import Teacher

_Pair = tuple[str, str]
# Where no pairs are given, this many layers are compared, evenly spaced: enough to guide every part of a network.
_MOST = 4
_WEIGHTED = ("kernel", "depthwise_kernel", "pointwise_kernel")


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
        pairs = (distill.pairs or default_pairs(guide, student)) if self._guided else ()
        if self._guided and not pairs:
            raise UsageError(
                "[distill] compares layers, and teacher and student have none of the same name",
                remedy='Name them: pairs = [["teacher\'s layer", "student\'s layer"]].',
            )
        self._student = with_layers(student, [ours for _, ours in pairs])
        self._guide = with_layers(guide, [theirs for theirs, _ in pairs]) if pairs else None
        self._projections = projections(pairs, guide, student) if distill.feature else []
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


def default_pairs(teacher: Any, student: Any) -> tuple[_Pair, ...]:
    """Layers with kernels that both have by the same name, at most four, without the last: it is taught by answers."""
    theirs = {layer.name for layer in teacher.layers}
    common = [name for name in map(_own_name, filter(_has_kernel, student.layers)) if name in theirs][:-1]
    if len(common) <= _MOST:
        return tuple((name, name) for name in common)
    chosen = [common[round((place + 1) * len(common) / _MOST) - 1] for place in range(_MOST)]
    return tuple((name, name) for name in chosen)


def with_layers(model: Any, names: Sequence[str]) -> Any:
    """A model that returns (outputs, [output of each named layer]); wrapped layers go by the name inside.

    Raises:
        UsageError: there is no such layer.
    """
    if not names:
        return lambda x, training: (model(x, training=training), [])
    known = {_own_name(layer): layer for layer in model.layers}
    require_known("[distill] pairs", names, known, model.name)
    extended = _kit(model).Model(model.inputs, [model.outputs, [known[name].output for name in names]])
    return lambda x, training: extended(x, training=training)


def projections(pairs: Sequence[_Pair], teacher: Any, student: Any) -> list[Any]:
    """For each pair a learned 1x1 projection of the student's channels onto the teacher's; None where they agree.

    Romero et al. 2015, "FitNets", section 2.2, calls it the regressor.

    Raises:
        UsageError: the layers differ in more than their channels.
    """
    found = []
    for theirs, ours in pairs:
        wide, narrow = _shape(teacher, theirs), _shape(student, ours)
        if wide[:-1] != narrow[:-1]:
            raise UsageError(
                f"[distill] pairs: {theirs} has the shape {wide[1:]}, {ours} {narrow[1:]}",
                "Paired layers may differ in their channels (the last axis) only.",
            )
        found.append(tf_keras.layers.Dense(wide[-1], use_bias=False) if wide[-1] != narrow[-1] else None)
    return found


def _own_name(layer: Any) -> str:
    """A layer's name as its user knows it, without what an optimization wrapped around it."""
    return str(getattr(layer, "layer", layer).name)


def _has_kernel(layer: Any) -> bool:
    inner = getattr(layer, "layer", layer)
    return any(hasattr(inner, name) for name in _WEIGHTED)


def _shape(model: Any, name: str) -> tuple[Any, ...]:
    layer = next(layer for layer in model.layers if _own_name(layer) == name)
    return tuple(layer.output.shape)


def _kit(model: Any) -> Any:
    if isinstance(model, tf_keras.Model):
        return tf_keras
    import keras  # only a teacher in Keras 3 needs it

    return keras
