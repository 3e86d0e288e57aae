"""Inputs made up for calibration where there are no data: samples that batch norms find as usual as what they learnt.

"Distilled data" of Cai et al. 2020, "ZeroQ: A novel zero shot quantization framework", section 3.1: random inputs are
changed until the mean and the deviation that each batch norm sees are those that it keeps from training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.actions.datasets import CALIBRATION, Splits, SynthesizeJob
from edgebuild.child import Say
from edgebuild.core.settings import Preprocess
from edgebuild.data import samples
from edgebuild.data.given import Array, Examples
from edgebuild.errors import StepError
from edgebuild.passes import calling
from edgebuild.passes.graph import building, files
from edgebuild.passes.graph.affine import BATCH_NORM

_STEPS = 300
_BATCH = 32
_LEARNING_RATE = 0.1  # of the deviation of the first guess
_SAID_EVERY = 50
# Ranges that inputs usually have: normalized, 0 to 1, 0 to 255.
_GUESSES = ((0.0, 1.0), (0.5, 0.25), (127.5, 64.0))


class Statistics(NamedTuple):
    """What a batch norm keeps of its inputs, by channel: mean and deviation; and the axes that are averaged over."""

    mean: Any
    deviation: Any
    axes: tuple[int, ...]


def run(job: SynthesizeJob, say: Say) -> Splits:
    """Write a calibration split of made-up inputs.

    Raises:
        StepError: the network has no batch norm, or takes other than float inputs.
    """
    tf_keras.utils.set_random_seed(job.seed)
    tf.config.experimental.enable_op_determinism()
    graph = files.load(Path(job.network))
    if any(not graph.tensors[item.tensor].dtype.startswith("float") for item in graph.inputs):
        raise StepError(
            "inputs cannot be synthesised for a network that takes integers", remedy="Give data (--data FILE.npz)."
        )
    model = building.build(graph)
    seen, kept = _batch_norms(model)
    if not kept:
        raise StepError(
            "inputs cannot be synthesised: the network has no batch norm that knows what is usual",
            remedy="Give data (--data FILE.npz).",
        )
    rng = np.random.default_rng(job.seed)
    sizes = [min(_BATCH, job.samples - start) for start in range(0, job.samples, _BATCH)]
    batches = [_made(seen, kept, size, rng, say) for size in sizes]
    x = tuple(_raw(np.concatenate(arrays), job.preprocess) for arrays in zip(*batches, strict=True))
    digest = samples.save(Examples(x, None), Path(job.out) / CALIBRATION)
    return Splits(
        train_samples=0,
        calibration_samples=job.samples,
        evaluation_samples=0,
        given_samples=0,
        learning_samples=0,
        learning_sha256="",
        calibration_sha256=digest,
        evaluation_sha256="",
        has_answers=False,
        learning_has_answers=False,
        labels=(),
        notes=(
            f"no data were given: int8 ranges come from {job.samples} inputs synthesised to fit {len(kept)} batch "
            "norms, not from real samples, and nothing was scored",
        ),
    )


def _batch_norms(model: Any) -> tuple[Any, list[Statistics]]:
    """A model of what each batch norm sees, and what it keeps."""
    layers = [layer for layer in model.layers if type(layer).__name__ in BATCH_NORM]
    inputs = [layer.get_input_at(0) for layer in layers]
    return tf_keras.Model(model.inputs, inputs), [_statistics(layer) for layer in layers]


def _statistics(layer: Any) -> Statistics:
    rank = layer.get_input_at(0).shape.rank
    kept = {axis % rank for axis in ([layer.axis] if isinstance(layer.axis, int) else layer.axis)}
    deviation = tf.sqrt(layer.moving_variance + layer.epsilon)
    return Statistics(layer.moving_mean, deviation, tuple(axis for axis in range(rank) if axis not in kept))


def _made(model: Any, kept: Sequence[Statistics], count: int, rng: np.random.Generator, say: Say) -> list[Array]:
    """One batch: the best of the first guesses, improved."""
    noise = [rng.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    loss = tf.function(lambda *x: _apart(calling.outputs(model, x), kept), autograph=False)
    middle, spread = min(_GUESSES, key=lambda guess: float(loss(*(guess[0] + guess[1] * array for array in noise))))
    x = [tf.Variable(middle + spread * array) for array in noise]
    rate = tf_keras.optimizers.schedules.CosineDecay(_LEARNING_RATE * spread, _STEPS)
    optimizer = tf_keras.optimizers.Adam(rate)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def improve() -> Any:
        with tf.GradientTape() as tape:
            now = _apart(calling.outputs(model, x), kept)
        optimizer.apply_gradients(zip(tape.gradient(now, x), x, strict=True))
        return now

    for step in range(_STEPS):
        now = improve()
        if step % _SAID_EVERY == 0:
            say(f"synthesising inputs: step {step} of {_STEPS}, distance from the statistics {float(now):.3f}")
    return [variable.numpy() for variable in x]


def _apart(seen: Sequence[Any], kept: Sequence[Statistics]) -> Any:
    """How far what batch norms see is from what they keep, in deviations, averaged over channels and layers."""
    parts = []
    for tensor, wanted in zip(seen, kept, strict=True):
        mean, variance = tf.nn.moments(tensor, wanted.axes)
        deviation = tf.sqrt(variance + 1e-6)
        parts.append(tf.reduce_mean(((mean - wanted.mean) / wanted.deviation) ** 2))
        parts.append(tf.reduce_mean((deviation / wanted.deviation - 1) ** 2))
    return tf.add_n(parts) / len(parts)


def _raw(x: Array, preprocess: Preprocess) -> Array:
    """What becomes these inputs when it is preprocessed."""
    return (x / np.asarray(preprocess.scale, np.float32) + np.asarray(preprocess.mean, np.float32)).astype(np.float32)
