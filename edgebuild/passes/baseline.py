"""The score of the float network, which every artifact is compared with, by the metric that suits the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgebuild.actions.scores import Baseline, BaselineJob
from edgebuild.child import Say, paced
from edgebuild.core.metric import Metric
from edgebuild.core.model import TensorSpec
from edgebuild.data import scored
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.data.scored import wanted
from edgebuild.errors import StepError
from edgebuild.metrics import further, score
from edgebuild.metrics.choosing import Evaluation, Seen, choose, named
from edgebuild.passes import keras_metrics

_BATCH = 64
_TELLING = ("Sigmoid", "Softmax")
# What may stand between an activation and the end of a network without changing what it means.
_TRANSPARENT = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "Cast", "Transpose"})


def run(job: BaselineJob, say: Say) -> Baseline:
    """Run a split through TensorFlow, settle the metric by its labels, score the outputs and keep them.

    Raises:
        UsageError: the labels fit no output, or not the metric that was named.
        StepError: the network fails on a sample, or the metric's function failed.
    """
    module: Any = tf.saved_model.load(job.saved_model)
    samples = Samples(Path(job.evaluation), job.preprocess, job.most)
    asked = keras_metrics.with_direction(job.metric)
    known = job.network.outputs
    candidates = _fitting(named(asked, [spec.name for spec in known]), samples, asked, known)
    found = _run(job, module, samples, [known[place].name for place in candidates], say)
    made_by = _endings(module)
    seen = [
        Seen(place, known[place].name, values, made_by.get(known[place].name, ""))
        for place, values in zip(candidates, found, strict=True)
    ]
    metric = choose(asked, seen, _evaluation(samples, job, found), len(known))
    values = next(item.values for item in seen if item.position == metric.output)
    y = wanted(samples, metric)
    assert y is not None, "the engine asks only where there are labels"
    scored.keep_outputs(values, Path(job.out))
    return Baseline(
        score=score(values, y, metric), samples=len(samples), metric=metric, further=further(values, y, metric)
    )


def _fitting(places: Sequence[int], samples: Samples, asked: Metric, known: Sequence[TensorSpec]) -> list[int]:
    """The outputs that labels may be of, by their size alone, so that not all of many have to be kept; else all."""
    if asked.is_callable or len(places) == 1:
        return list(places[:1])
    y = samples.y
    sizes = {int(np.prod(array.shape[1:])) for array in samples.given} if asked.target or y is None else set()
    if y is not None and not asked.target:
        sizes = {int(np.prod(y.shape[1:]))}

    def fits(spec: TensorSpec) -> bool:
        size = int(np.prod(spec.shape[1:]))
        return -1 in spec.shape[1:] or bool(sizes & {size, size // max(1, spec.shape[-1])})

    return [place for place in places if fits(known[place])] or list(places)


def _run(job: BaselineJob, module: Any, samples: Samples, names: Sequence[str], say: Say) -> list[Array]:
    """The outputs of these names, each [samples, ...]."""
    batch = _BATCH if job.batched else 1
    dtypes = [np.dtype(spec.dtype) for spec in job.network.inputs]
    rows: list[list[Array]] = [[] for _ in names]
    tell = paced(say)
    for done, arrays in enumerate(samples.batches(batch, dtypes)):
        try:
            results = module.network(*[tf.constant(array) for array in arrays])
        except tf.errors.OpError as error:
            last = min((done + 1) * batch, len(samples)) - 1
            raise StepError(
                f"the network fails on evaluation samples {done * batch} to {last}", error.message.splitlines()[0]
            ) from None
        # By name: the mapping that a reloaded network returns has another order in each process.
        for place, name in enumerate(names):
            rows[place].append(results[name].numpy())
        tell(f"{done * batch:,} of {len(samples):,} samples")
    return [np.concatenate(column) for column in rows]


def _evaluation(samples: Samples, job: BaselineJob, found: Sequence[Array]) -> Evaluation:
    """Labels, and the inputs that may be what outputs reconstruct."""
    sizes = {values.size for values in found}
    y = None if samples.y is None else np.asarray(samples.y)
    given = [array if array.size in sizes else None for array in samples.given]
    if not any(array is not None for array in given):
        return Evaluation(y, [None] * len(given), [None] * len(given), job.labels)
    fed = samples.batch(0, len(samples), [np.dtype(spec.dtype) for spec in job.network.inputs])
    used = [None if raw is None else one for one, raw in zip(fed, given, strict=True)]
    return Evaluation(y, used, given, job.labels)


def _endings(module: Any) -> dict[str, str]:
    """The operator that makes each output, by the output's name: "Sigmoid", "Softmax", or "" for any other.

    Args:
        module: as `tf.saved_model.load` gives it.

    Returns:
        Nothing where the graph cannot be seen through: an output's range then tells what it is.
    """
    trace = module.network.concrete_functions[0]
    try:
        function = convert_variables_to_constants_v2(trace)
    except Exception:  # whatever TensorFlow raises of a graph that it cannot turn into one without variables
        return {}
    names = sorted(trace.structured_outputs) if isinstance(trace.structured_outputs, dict) else []
    flat = tf.nest.flatten(function.outputs)
    return {name: _ending(tensor) for name, tensor in zip(names, flat, strict=True)} if len(names) == len(flat) else {}


def _ending(tensor: Any) -> str:
    operation = tensor.op
    while operation.type in _TRANSPARENT:
        operation = operation.inputs[0].op
    return operation.type if operation.type in _TELLING else ""
