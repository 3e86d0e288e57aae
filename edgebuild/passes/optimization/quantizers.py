"""Fake quantization of clustered kernels in training, by which artifacts hold no more values than the kernels do."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.passes.optimization import tfmot
from edgebuild.passes.optimization.clustering import KeepsZeros

_BITS = 8


class ClusteredWeights(tfmot.LastValueQuantizer):  # type: ignore[misc]
    """The weight quantizer of cluster-preserving training (CQAT, and PCQAT where the kernel holds zeros).

    tfmot's own takes a convolution whose channels all hold the same number of different values for one that was
    clustered by channel, and then trains that many centroids for each channel; it gives each channel a scale of its
    own, by which one centroid becomes as many integers as there are channels; and it stops to keep the zeros of all
    kernels as soon as it meets one without any. Here all channels share the centroids and the range, as a vector where
    the kernel's format wants one by channel: the converter multiplies that by the batch normalization behind it.

    Args:
        by_channel: whether the range is a vector with an entry for each channel out.
        preserve_sparsity: whether zeros are kept.
    """

    def __init__(self, *, by_channel: bool, preserve_sparsity: bool) -> None:
        super().__init__(num_bits=_BITS, per_axis=by_channel, symmetric=True, narrow_range=True)
        self._preserve_sparsity = preserve_sparsity

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Make the variables: centroids, the weights that choose among them, and the range."""
        kernel = getattr(layer.layer, name).numpy()
        centroids = layer.add_weight(
            "cluster_centroids",
            shape=(len(np.unique(kernel)),),
            initializer=tf_keras.initializers.Constant(np.unique(kernel)),
            trainable=True,
        )
        chosen_by = layer.add_weight(
            "weights_before_clustering",
            shape=kernel.shape,
            initializer=tf_keras.initializers.Constant(kernel),
            trainable=True,
        )
        lookup = KeepsZeros if self._preserve_sparsity else tfmot.ClusteringAlgorithm
        return {
            "centroids": centroids,
            "chosen_by": chosen_by,
            "mask": tf.constant(kernel != 0, tf.float32),
            "nonzero": tf.constant(np.unique(kernel) != 0, tf.float32),
            "lookup": lookup(centroids, tfmot.GradientAggregation.SUM, "channels_last"),
            **self._range(tensor_shape, name, layer),
        }

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **_: Any) -> Any:
        """The kernel with clusters, rounded to eight bits; in training it is chosen anew and kept in `inputs`."""
        if training:
            kernel = self._clustered(weights)
            inputs.assign(kernel)
            largest = tf.reduce_max(tf.abs(kernel))
            weights["max_var"].assign(tf.fill(weights["max_var"].shape, largest))
            weights["min_var"].assign(tf.fill(weights["min_var"].shape, -largest))
        else:
            kernel = inputs
        rounded = (
            tf.quantization.fake_quant_with_min_max_vars_per_channel
            if self.per_axis
            else tf.quantization.fake_quant_with_min_max_vars
        )
        return rounded(kernel, weights["min_var"], weights["max_var"], num_bits=_BITS, narrow_range=True)

    def _clustered(self, weights: dict[str, Any]) -> Any:
        if self._preserve_sparsity:
            weights["chosen_by"].assign(weights["chosen_by"] * weights["mask"])
            weights["centroids"].assign(weights["centroids"] * weights["nonzero"])
        indices = weights["lookup"].get_pulling_indices(weights["chosen_by"])
        return weights["lookup"].get_clustered_weight(indices, weights["chosen_by"])

    def _range(self, shape: Any, name: str, layer: Any) -> dict[str, Any]:
        channels = (shape[-1],) if self.per_axis else ()
        return {
            f"{end}_var": layer.add_weight(
                f"{name}_{end}",
                shape=channels,
                initializer=tf_keras.initializers.Constant(sign * 6.0),
                trainable=False,
            )
            for end, sign in (("min", -1), ("max", 1))
        }
