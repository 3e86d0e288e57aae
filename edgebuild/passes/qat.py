"""Quantization-aware training; without train data only the choice of ranges that keeps clusters in the artifact.

Which of them is chosen by layer, by what its kernel holds. The models returned round weights and activations to ranges
that the converter takes over; frozen and converted to int8 beside representative samples, which give the ranges of what
was not quantized here, they become artifacts that hold the learned ranges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf
import tf_keras

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import QuantizeAware
from edgebuild.decode import require_known
from edgebuild.errors import StepError
from edgebuild.passes import calling, lessons, pass_files
from edgebuild.passes.graph import building, files, folding
from edgebuild.passes.loading import from_keras_model
from edgebuild.passes.optimization import clustering, scheme, tfmot
from edgebuild.passes.optimization.kernels import unwrapped
from edgebuild.passes.pass_files import with_ranges
from edgebuild.passes.training.loop import Fit

# Attributes of layers that add noise in training, which is not to be seen by those who look for ranges.
_NOISE = ("rate", "stddev")


def run(job: CompressJob, say: Say) -> Compressed:
    """Train with fake quantization and write the network, ranges and all, as a SavedModel for the converter.

    Raises:
        UsageError: a teacher does not fit.
        StepError: nothing in the network can be quantized this way, or the train data are too few.
    """
    assert isinstance(job.settings, QuantizeAware), "the engine sends each pass to its own module"
    settings = job.settings
    graph, rewritten = folding.for_quantization_aware_training(files.load(Path(job.network)))
    model = building.build(graph)
    require_known("passes.qat.exclude", settings.exclude, graph.layers, "the network")
    outside = left_out(model, settings)
    said = [
        *(f"{note.layer}: {note.text}" for note in rewritten),
        *([f"not quantized in training: {', '.join(outside)}"] if outside else []),
    ]
    if job.lesson is None or settings.only_ranges:
        say("choosing ranges")
        trained = calibrated(model, settings, pass_files.batches(job, graph))
    else:
        slower = msgspec.structs.replace(
            job.lesson.train, learning_rate=settings.learning_rate * job.lesson.train.learning_rate
        )
        lesson = msgspec.structs.replace(job.lesson, train=slower)
        trainer = lessons.trainer(lesson, files.load(Path(job.original)), say)
        trained = train(model, settings, trainer, pass_files.batches(job, graph))
        said += trainer.notes
    return with_ranges(from_keras_model(trained), graph, job, said)


def left_out(model: tf_keras.Model, settings: QuantizeAware) -> tuple[str, ...]:
    """The layers that are trained without quantization: those that the settings exclude or tfmot refuses."""
    layers = scheme.with_own_layers(model).layers
    return tuple(layer.name for layer in layers if not _is_input(layer) and not _is_taken(layer, settings))


def train(model: tf_keras.Model, settings: QuantizeAware, fit: Fit, samples: Iterable[list[Any]]) -> tf_keras.Model:
    """A copy of a model with fake quantization, trained, with zeros and clusters kept.

    Args:
        model: stays as it is.
        settings: what is left out, and how long it is trained.
        fit: trains.
        samples: batches, each an array for each input: activations start with the ranges they have on these. Moving
            averages alone, as tfmot has them, are far from the truth for thousands of steps.

    Raises:
        StepError: the structure of the model is not known, nothing in it can be quantized, or tfmot cannot take it.
    """
    quantized = calibrated(model, settings, samples)
    hooks = clustering.hooks(quantized, clustered=bool(clustering.clusters_of(quantized)))
    fit(quantized, hooks=hooks, part=settings.part)
    _settle(quantized)
    return quantized


def calibrated(model: tf_keras.Model, settings: QuantizeAware, samples: Iterable[list[Any]]) -> tf_keras.Model:
    """A copy of a model with fake quantization to the ranges of samples: what `train` starts with.

    Converted as it is it is post-training quantization that keeps clusters, which the converter's own does not.

    Args and errors as for `train`.
    """
    quantized = _quantized(scheme.with_own_layers(model), settings)
    with _observing(quantized):
        observe: Any = tf.function(lambda *x: calling.outputs(quantized, x, training=True))
        for arrays in samples:
            observe(*map(tf.constant, arrays))
    _settle(quantized)
    return quantized


def _quantized(model: tf_keras.Model, settings: QuantizeAware) -> tf_keras.Model:
    if not any(_is_taken(layer, settings) for layer in model.layers if not _is_input(layer)):
        raise StepError(
            "there is nothing to train quantization-aware",
            f"tensorflow-model-optimization knows none of its layers: {', '.join(left_out(model, settings))}.",
        )

    def annotate(layer: Any) -> Any:
        taken = not _is_input(layer) and _is_taken(layer, settings)
        return tfmot.quantize_annotate_layer(layer) if taken else layer

    try:
        with tfmot.quantize_scope():
            annotated = tf_keras.models.clone_model(model, clone_function=annotate)
            return tfmot.quantize_apply(annotated, scheme=scheme.PreservingScheme(), quantized_layer_name_prefix="")
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise StepError(
            "tensorflow-model-optimization cannot quantize the network for training",
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            "Leave out qat: int8 ranges are then chosen once all training is over.",
        ) from error


def _is_taken(layer: Any, settings: QuantizeAware) -> bool:
    return layer.name not in settings.exclude and scheme.supports(layer)


def _is_input(layer: Any) -> bool:
    return isinstance(layer, tf_keras.layers.InputLayer)


@contextlib.contextmanager
def _observing(model: tf_keras.Model) -> Iterator[None]:
    """While it lasts calls in training mode widen the ranges to all values seen, and teach nothing else."""
    for variable in _range_variables(model):
        variable.assign(tf.zeros_like(variable))
    changes = list(_changes(model))
    before = [(thing, name, getattr(thing, name)) for thing, name, _ in changes]
    for thing, name, value in changes:
        setattr(thing, name, value)
    yield
    for thing, name, value in before:
        setattr(thing, name, value)


def _changes(model: tf_keras.Model) -> Iterator[tuple[Any, str, Any]]:
    """The attributes to set for `_observing`, with what they are on."""
    for wrapper in _wrappers(model):
        for activation in wrapper._quantize_activations:
            yield activation, "quantizer", _all_values()
        if wrapper._output_quantizers:
            yield wrapper, "_output_quantizers", [_all_values()]
    for layer in map(unwrapped, model.layers):
        for name in _NOISE:
            if hasattr(layer, name):
                yield layer, name, 0.0
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            yield layer, "trainable", False  # it computes as in inference then


def _settle(model: tf_keras.Model) -> None:
    """Set the ranges of weights (and the choice of centroids) by the weights as they are: a step changes them after."""
    for wrapper in _wrappers(model):
        for weight, quantizer, variables in wrapper._weight_vars:
            quantizer(weight, training=True, weights=variables)


def _wrappers(model: tf_keras.Model) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, tfmot.QuantizeWrapper)]


def _range_variables(model: tf_keras.Model) -> list[Any]:
    ends = ("_min", "_max")
    return [v for v in model.non_trainable_variables if v.name.split(":")[0].endswith(ends) and v.shape.rank == 0]


def _all_values() -> Any:
    return tfmot.AllValuesQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
