"""Statistics of batch norms as the network has them now: exact means and variances instead of moving averages.

Each cut and each step of training changes what a batch norm is given, and moving averages follow slowly: with Keras's
momentum of 0.99 a training of a hundred steps ends with statistics of which a third are still the old network's.
Here each batch norm normalizes by its batch, as in training, while everything else computes as in inference, and gets
the mean and variance of all that it was given (Wu and Johnson 2021, Rethinking "Batch" in BatchNorm, section 3.2,
PreciseBN). The weights stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edgebuild.passes import calling
from edgebuild.passes.training.data import SELDOM, Batchwise

Array = npt.NDArray[Any]
_FEWEST = 2  # rows of a batch: those of one have no variance


class _Seen(NamedTuple):
    """What one use of a batch norm was given in a batch, as tensors [channels]; `norm` is the layer's id."""

    norm: int
    mean: Any
    variance: Any


class _Sums:
    """Mean and variance of all that a batch norm was given, from those of its batches."""

    def __init__(self) -> None:
        self._rows = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, mean: Array, variance: Array, rows: int) -> None:
        """Take in a batch."""
        mean = mean.astype(np.float64)
        self._rows += rows
        self._mean = self._mean + rows * mean
        self._squares = self._squares + rows * (variance.astype(np.float64) + np.square(mean))

    def hand_to(self, norm: Any) -> None:
        """Give the layer what was found."""
        if not self._rows:
            return
        mean = self._mean / self._rows
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(np.maximum(self._squares / self._rows - np.square(mean), 0.0))


def _batch_norms(layers: Iterable[Any]) -> list[Any]:
    """The batch norms whose statistics training changes, those inside wrappers too; each stands once."""
    inner = (part for layer in layers for part in layer._flatten_layers())
    found = (layer for layer in inner if isinstance(layer, tf_keras.layers.BatchNormalization))
    return [layer for layer in {id(layer): layer for layer in found}.values() if not _is_frozen(layer)]


def _is_frozen(norm: Any) -> bool:
    """Whether a batch norm computes in training as in inference: then its statistics are weights like any other."""
    told = (node.call_kwargs.get("training") for node in norm._inbound_nodes)
    return not norm.trainable or any(training is False for training in told)


class BatchNorms:
    """Those of a network whose statistics training changes: not the frozen ones (not trainable, or told to infer).

    Args:
        layers: of the network, tf_keras's.
        call: the network: takes a tensor for each input and computes by these layers.
    """

    def __init__(self, layers: Iterable[Any], call: Callable[..., Any]) -> None:
        self._call = call
        self._norms = _batch_norms(layers)
        self._seen: list[_Seen] = []
        self._look = Batchwise(self._moments, eager=SELDOM)

    @classmethod
    def of(cls, model: Any) -> BatchNorms:
        """Those of a tf_keras model."""
        return cls([model], lambda *x: calling.outputs(model, x))

    def bring_up_to_date(self, batches: Iterable[Sequence[Array]]) -> None:
        """Give them the statistics of what they are given; one that is never reached keeps its own.

        Args:
            batches: samples, one array [rows, ...] for each input. Large ones come nearer to the statistics of all.
        """
        if not self._norms:
            return
        sums = {id(norm): _Sums() for norm in self._norms}
        for arrays in batches:
            if len(arrays[0]) < _FEWEST:
                continue
            found = self._look(*map(tf.constant, arrays))
            for each, (mean, variance) in zip(self._seen, found, strict=True):
                sums[each.norm].add(mean.numpy(), variance.numpy(), len(arrays[0]))
        for norm in self._norms:
            sums[id(norm)].hand_to(norm)

    def _moments(self, *x: Any) -> list[Any]:
        """What each norm is given in a batch, in the order of `_seen`."""
        self._seen.clear()
        with calling.replaced([(norm, functools.partial(_normalized, norm, self._seen)) for norm in self._norms]):
            self._call(*x)
        return [(each.mean, each.variance) for each in self._seen]


def _normalized(norm: Any, seen: list[_Seen], inputs: Any, *_: Any, **__: Any) -> Any:
    """What a batch norm makes of a batch by the statistics of that batch, which are noted."""
    kept = {axis % inputs.shape.rank for axis in tf.nest.flatten(norm.axis)}
    images = inputs.shape.rank == 4 and kept == {3}
    outputs, mean, variance = (_normalized_images if images else _normalized_along)(
        norm, tf.cast(inputs, tf.float32), kept
    )
    seen.append(_Seen(id(norm), mean, variance))
    return tf.cast(outputs, inputs.dtype)


def _normalized_images(norm: Any, values: Any, _: set[int]) -> tuple[Any, Any, Any]:
    """The same as `_normalized_along`, in one operator instead of a dozen."""
    channels, size = values.shape[-1], tf.cast(tf.size(values), tf.float32)
    outputs, mean, unbiased, *_reserved = tf.raw_ops.FusedBatchNormV3(
        x=values,
        scale=tf.ones(channels) if norm.gamma is None else norm.gamma,
        offset=tf.zeros(channels) if norm.beta is None else norm.beta,
        mean=[],
        variance=[],
        epsilon=norm.epsilon,
        is_training=True,
    )
    count = size / channels
    return outputs, mean, unbiased * (count - 1) / count


def _normalized_along(norm: Any, values: Any, kept: set[int]) -> tuple[Any, Any, Any]:
    """The normalized values, and their mean and variance [channels] over all axes but those that are kept."""
    others = [axis for axis in range(values.shape.rank) if axis not in kept]
    mean, variance = tf.nn.moments(values, others, keepdims=True)
    shape = [-1 if axis in kept else 1 for axis in range(values.shape.rank)]
    offset, scale = (None if weight is None else tf.reshape(weight, shape) for weight in (norm.beta, norm.gamma))
    outputs = tf.nn.batch_normalization(values, mean, variance, offset, scale, norm.epsilon)
    return outputs, tf.squeeze(mean, others), tf.squeeze(variance, others)
