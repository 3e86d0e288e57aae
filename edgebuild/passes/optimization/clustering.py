"""Clustering: kernels of few different values, by tfmot; zeros stay zeros, and nothing else joins them.

The converter multiplies a kernel by the scale of the batch normalization behind it. A negative one turns the signs of a
channel around, so that a kernel of n different values becomes one of up to twice as many; for one that is zero it makes
up a scale of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from edgebuild.core.passes import Centroids, Cluster
from edgebuild.errors import StepError
from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Graph, Layer, Weights
from edgebuild.passes.optimization import tfmot
from edgebuild.passes.optimization.kernels import copied, keep_masks, kernels, masks_of, unwrapped
from edgebuild.passes.training.loop import Fit, Hooks

Numbers = Mapping[str, int]
"""For each layer that is clustered how many different values its kernel may hold."""

_INITIAL = {
    Centroids.KMEANS: tfmot.CentroidInitialization.KMEANS_PLUS_PLUS,
    Centroids.DENSITY: tfmot.CentroidInitialization.DENSITY_BASED,
    Centroids.LINEAR: tfmot.CentroidInitialization.LINEAR,
}
_FEWEST = 3
_KMEANS_STEPS = 30
_MOST_UNIQUE = 255  # more different values than this in a kernel are no clusters
_LARGE = 1e9
_SMALLEST_SCALE = 1e-6
_KERNELS = {"Conv1D": "kernel", "Conv2D": "kernel", "Dense": "kernel", "SeparableConv2D": "pointwise_kernel"}
_NORMS = frozenset({"BatchNormalization", "SyncBatchNormalization"})
# What negating a layer's outputs negates in the normalization behind it, beside the scale.
_NEGATED = ("gamma", "moving_mean")


def numbers(model: tf_keras.Model, settings: Cluster) -> Numbers:
    """The number of clusters of each layer that is clustered; layers that stay are not in it.

    Raises:
        StepError: a layer is named that the network does not have, or that has no kernel.
    """
    found = {kernel.layer: kernel for kernel in kernels(model)}
    unknown = [name for name in settings.layers if name not in found]
    if unknown:
        raise StepError(
            f"there is no kernel to cluster in {', '.join(unknown)}", f"Layers with one: {', '.join(found)}."
        )
    few = [name for name, number in settings.layers.items() if 0 < number < _FEWEST]
    if few:
        raise StepError(f"{', '.join(few)} is to have fewer than {_FEWEST} clusters", "0 leaves a layer alone.")
    planned = {}
    for name, kernel in found.items():
        left = int(np.count_nonzero(kernel.variable.numpy()))
        usual = settings.clusters if kernel.variable.shape.num_elements() >= settings.smallest else 0
        number = settings.layers.get(name, usual)
        # Fewer weights than clusters are no clusters, and tfmot cannot seed them.
        if number and left > 2 * number:
            planned[name] = number
    return planned


def clusters_of(model: tf_keras.Model) -> Numbers:
    """The kernels that hold few different values, each many times, with their number, zero included."""
    found = {kernel.layer: clusters_in(kernel.variable.numpy()) for kernel in kernels(model)}
    return {layer: number for layer, number in found.items() if number}


def clusters_in(values: npt.NDArray[np.float32]) -> int:
    """How many different values a clustered array holds, zero included; 0 where it is not clustered."""
    left = values[values != 0]
    unique = len(np.unique(left))
    return unique + int(left.size < values.size) if 1 < unique <= min(_MOST_UNIQUE, left.size // 4) else 0


def cluster_now(model: tf_keras.Model, settings: Cluster) -> tf_keras.Model:
    """A clustered copy of a model, without training: each weight becomes the nearest centroid that k-means found.

    Args:
        model: stays as it is. Kernels that hold zeros keep exactly these.
        settings: how many clusters and where.

    Raises:
        StepError: the structure of the model is not known, or the settings name a layer that it does not have.
    """
    return _stripped(_wrapped(with_positive_scales(model), settings))


def cluster(model: tf_keras.Model, settings: Cluster, fit: Fit) -> tf_keras.Model:
    """A clustered copy of a model, whose centroids were trained (Han et al. 2016, "Deep compression", section 3.3).

    Args:
        model: stays as it is. Kernels that hold zeros keep exactly these.
        settings: how many clusters and where.
        fit: trains.

    Raises:
        StepError: as for `cluster_now`.
    """
    wrapped = _wrapped(with_positive_scales(model), settings)
    fit(wrapped, hooks=hooks(wrapped, clustered=True))
    return _stripped(wrapped)


def hooks(model: tf_keras.Model, *, clustered: bool) -> Hooks:
    """Hooks that keep what kernels need in training.

    Args:
        model: to be trained; its layers may be wrapped by tfmot.
        clustered: whether kernels are: then the scales of batch normalizations stay positive, beside the zeros.
    """
    kept = keep_masks(model, masks_of(model))
    gammas = [layer.gamma for layer in map(unwrapped, model.layers) if getattr(layer, "gamma", None) is not None]
    positive = [gamma for gamma in gammas if clustered and (gamma.numpy() >= 0).all()]

    def clip() -> None:
        for gamma in positive:
            gamma.assign(tf.maximum(gamma, _SMALLEST_SCALE))

    traced: Any = tf.function(clip, autograph=False)

    def after_step(done: float) -> None:
        kept.after_step(done)
        traced()

    return Hooks(after_step=after_step)


class KeepsZeros(tfmot.ClusteringAlgorithm):  # type: ignore[misc]
    """tfmot's lookup of the nearest centroid, except that only zeros have the centroid that is zero.

    tfmot lets small weights join it, so that a pruned kernel gets more zeros than were asked for.
    """

    def get_pulling_indices(self, weight: Any, centroids: Any = None) -> Any:
        """[...] int64, for each weight the number of its centroid."""
        known = self.cluster_centroids if centroids is None else centroids
        distances = tf.abs(tf.expand_dims(weight, -1) - known)
        forbidden = tf.expand_dims(weight != 0, -1) & (known == 0)
        return tf.argmin(tf.where(forbidden, _LARGE, distances), axis=-1)


class RefinedClustering(tfmot.ClusterWeights):  # type: ignore[misc]
    """tfmot's wrapper with centroids refined by k-means, and with zeros kept apart."""

    def build(self, input_shape: Any) -> None:
        """Make tfmot's variables, and set them to the refined clusters."""
        super().build(input_shape)
        for name, weight in self.original_clusterable_weights.items():
            centroids = self.cluster_centroids[name]
            values = weight.numpy()
            centroids.assign(_refined(values, centroids.numpy(), keep_zero=self.preserve_sparsity))
            lookup = tfmot.ClusteringAlgorithm
            algorithm = (KeepsZeros if self.preserve_sparsity else lookup)(
                centroids, self.cluster_gradient_aggregation, self.data_format
            )
            self.clustering_algorithms[name] = algorithm
            self.pulling_indices[name].assign(algorithm.get_pulling_indices(weight))
            if self.preserve_sparsity:
                self.sparsity_masks[name] = tf.constant(values != 0, tf.float32)


def _wrapped(model: tf_keras.Model, settings: Cluster) -> tf_keras.Model:
    planned = numbers(model, settings)
    sparse = masks_of(model)

    def wrap(layer: Any) -> Any:
        if layer.name not in planned:
            return layer
        return RefinedClustering(
            layer,
            number_of_clusters=planned[layer.name],
            cluster_centroids_init=_INITIAL[settings.centroids],
            preserve_sparsity=layer.name in sparse,
        )

    return tf_keras.models.clone_model(model, clone_function=wrap)


def _stripped(model: tf_keras.Model) -> tf_keras.Model:
    return copied(tfmot.strip_clustering(model))


def _refined(
    values: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], *, keep_zero: bool
) -> npt.NDArray[np.float32]:
    """Centroids after some rounds of k-means over a kernel (Lloyd 1982); one at zero stays and takes no weights."""
    ordered = np.sort(values[values != 0] if keep_zero else values.ravel())
    sums = np.concatenate([[0.0], ordered.cumsum(dtype=np.float64)])
    moving = np.sort(centroids[centroids != 0] if keep_zero else centroids).astype(np.float64)
    for _ in range(_KMEANS_STEPS):
        borders = np.searchsorted(ordered, (moving[1:] + moving[:-1]) / 2)
        edges = np.concatenate([[0], borders, [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        moving = np.sort(np.where(counts > 0, means, moving))
    whole = np.concatenate([moving, np.zeros(len(centroids) - len(moving))])
    return np.sort(whole).astype(np.float32)


"""What stands for a scale of zero: what is left of its channel is far below the rounding of eight bits."""


class _Pair(NamedTuple):
    """A layer with a kernel, and the batch normalization that alone reads it."""

    layer: str
    norm: str


def with_positive_scales(model: tf_keras.Model) -> tf_keras.Model:
    """A model that computes the same, whose batch normalizations behind convolutions have positive scales.

    Channels with a negative one have the signs of their weights turned around, in the kernel and in the normalization.

    Raises:
        StepError: the structure of the model is not known.
    """
    graph = building.read(model)
    layers = dict(graph.layers)
    for pair in _pairs(graph):
        kernel, norm = layers[pair.layer], layers[pair.norm]
        sign = np.where(norm.weights["gamma"] < 0, -1.0, 1.0).astype(np.float32)
        layers[pair.layer] = kernel._replace(weights=_scaled(kernel.weights, _of(kernel), sign))
        turned = _scaled(norm.weights, _NEGATED, sign)
        layers[pair.norm] = norm._replace(weights={**turned, "gamma": np.maximum(turned["gamma"], _SMALLEST_SCALE)})
    return building.build(graph._replace(layers=layers))


def _pairs(graph: Graph) -> Iterator[_Pair]:
    consumers, producers = graph.consumers(), graph.producers()
    for call in graph.calls:
        norm = graph.layers[call.layer]
        if norm.kind.__name__ not in _NORMS or "gamma" not in norm.weights or len(call.inputs) != 1:
            continue
        (tensor,) = call.inputs
        maker = producers.get(tensor)
        if maker is None or len(consumers[tensor]) != 1 or tensor in graph.outputs:
            continue
        layer = graph.layers[maker.layer]
        once = all(len(list(graph.calls_of(name))) == 1 for name in (call.layer, maker.layer))
        if once and layer.kind.__name__ in _KERNELS and layer.config.get("activation", "linear") in (None, "linear"):
            yield _Pair(maker.layer, call.layer)


def _of(layer: Layer) -> tuple[str, ...]:
    return (_KERNELS[layer.kind.__name__], "bias")


def _scaled(weights: Weights, names: tuple[str, ...], factor: Any) -> Weights:
    """The weights with those named multiplied along their last axis, the channels."""
    return {name: array * factor if name in names else array for name, array in weights.items()}
