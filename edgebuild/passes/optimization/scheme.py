"""How layers are quantized in training: tfmot's default scheme, and its preserving ones for layers that need them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edgebuild.passes.graph import building
from edgebuild.passes.graph.ir import Call, Graph, Layer, Ref
from edgebuild.passes.optimization import tfmot
from edgebuild.passes.optimization.clustering import KeepsZeros, clusters_in

_BITS = 8
_INNER = frozenset({"linear", "relu", "softmax", "sigmoid", "tanh", "swish", "gelu"})
_KINDS = frozenset({"Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D"})
_KERNELS = "Conv2D|DepthwiseConv2D|Dense"
_PRESERVED = frozenset({"Conv2D", "Dense"})
# What tfmot takes as a layer of its own.
_OUTER = frozenset({*_INNER, "relu6"})
# Split by tfmot into layers that it knows, before any is wrapped; of a layer that is called several times it is not.
_SPLIT = frozenset({"SeparableConv2D"})
# Of these, which tfmot does not know, the output is rounded. Unless all tensors around a kernel have a range here, the
# converter chooses its own for the kernel too, and clusters are lost.
_ROUNDED_BEHIND = frozenset(
    {"BatchNormalization", "SyncBatchNormalization", "Maximum", "Minimum", "Multiply", "Rescaling", "Subtract"}
)


class _ClusteredWeights(tfmot.LastValueQuantizer):  # type: ignore[misc]
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


"""What tfmot rounds inside of a layer."""


def with_own_layers(model: tf_keras.Model) -> tf_keras.Model:
    """A copy of a model that computes the same, with other activations than those above behind their layers.

    Raises:
        StepError: the structure of the model is not known.
    """
    graph = building.read(model)
    for layer in list(graph.layers.values()):
        name = layer.config.get("activation")
        if layer.kind.__name__ in _KINDS and isinstance(name, str) and name not in _INNER:
            graph = _split(graph, layer, name)
    return building.build(graph)


def _split(graph: Graph, layer: Layer, activation: str) -> Graph:
    kind = tf_keras.layers.Activation
    own = f"{layer.name}_{activation}"
    behind = Layer(own, kind, {**kind(activation).get_config(), "name": own}, {})
    layers = {**graph.layers, layer.name: layer._replace(config={**layer.config, "activation": "linear"}), own: behind}
    tensors = dict(graph.tensors)
    calls = []
    for call in graph.calls:
        if call.layer == layer.name:
            between, (output,) = len(tensors), call.outputs
            tensors[between] = tensors[output]
            calls += [call._replace(outputs=(between,)), Call(own, (Ref(between),), {}, (output,))]
        else:
            calls.append(call)
    return graph._replace(layers=layers, calls=tuple(calls), tensors=tensors)


def supports(layer: Any) -> bool:
    """Whether a layer can be quantized in training; activations of other kinds become layers of their own."""
    is_split = type(layer).__name__ in _SPLIT and len(layer.inbound_nodes) == 1
    return bool((is_split or _Registry().supports(layer)) and _has_known_activation(layer))


def holds(layer: Any) -> tuple[bool, bool]:
    """Whether the kernel of a layer was pruned, and whether it was clustered."""
    if type(layer).__name__ not in _PRESERVED:
        return False, False
    kernel = layer.kernel.numpy()
    return bool((kernel == 0).any() and kernel.any()), clusters_in(kernel) > 0


class PreservingScheme(tfmot.Default8BitQuantizeScheme):  # type: ignore[misc]
    """tfmot's 8-bit scheme; each layer whose kernel holds zeros or clusters is quantized so that it keeps them."""

    def get_layout_transformer(self) -> Any:
        """What is done to the layers before they are wrapped."""
        return _Layout()

    def get_quantize_registry(self) -> Any:
        """What says how each layer is quantized."""
        return _Registry()


class _Registry(tfmot.Default8BitQuantizeRegistry):  # type: ignore[misc]
    def supports(self, layer: Any) -> bool:
        """Also layers of which the output alone is rounded, batch normalization that follows no convolution say."""
        known = type(layer).__name__ in _ROUNDED_BEHIND or super().supports(layer)
        return bool(known and _has_known_activation(layer))

    def get_quantize_config(self, layer: Any) -> Any:
        """The config of one layer, never shared: tfmot's quantizers remember what they met."""
        if type(layer).__name__ in _ROUNDED_BEHIND:
            return tfmot.configs.Default8BitOutputQuantizeConfig()
        pruned, clustered = holds(layer)
        if clustered:
            scheme = tfmot.cluster_preserve.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=pruned)
            config = scheme.get_quantize_registry().get_quantize_config(layer)
            config.weight_quantizer = _ClusteredWeights(
                by_channel=type(layer).__name__ == "Conv2D", preserve_sparsity=pruned
            )
            return config
        if pruned:
            scheme = tfmot.prune_preserve.Default8BitPrunePreserveQuantizeScheme()
            return scheme.get_quantize_registry().get_quantize_config(layer)
        return tfmot.Default8BitQuantizeRegistry().get_quantize_config(layer)


def _has_known_activation(layer: Any) -> bool:
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    # Of a layer that tfmot has wrapped in the meantime the activation is an object of its own.
    return name in (_OUTER if type(layer).__name__ == "Activation" else _INNER)


class _Layout(tfmot.QuantizeLayoutTransform):  # type: ignore[misc]
    """tfmot's default layout, except that a kernel with a ReLU behind it keeps its rounding.

    tfmot's takes both roundings from such a layer, that of its output, which the ReLU makes needless, and that of its
    weights.
    """

    def apply(self, model: Any, layer_quantize_map: Any) -> Any:
        """The model with layers split and roundings moved, and the map of layers to be quantized."""
        kinds = tfmot.layout
        changes = [
            kinds.InputLayerQuantize(),
            kinds.SeparableConv1DQuantize(),
            kinds.SeparableConvQuantize(),
            kinds.Conv2DReshapeBatchNormReLUQuantize(),
            kinds.Conv2DReshapeBatchNormActivationQuantize(),
            kinds.Conv2DBatchNormReLUQuantize(),
            kinds.Conv2DBatchNormActivationQuantize(),
            kinds.Conv2DReshapeBatchNormQuantize(),
            kinds.Conv2DBatchNormQuantize(),
            kinds.ConcatTransform6Inputs(),
            kinds.ConcatTransform5Inputs(),
            kinds.ConcatTransform4Inputs(),
            kinds.ConcatTransform3Inputs(),
            kinds.ConcatTransform(),
            kinds.DenseBatchNormQuantize(),
            kinds.DenseBatchNormReLUQuantize(),
            kinds.DenseBatchNormActivationQuantize(),
            _AddReLU("ReLU", {}),
            _AddReLU("Activation", {"activation": "relu"}),
            _KernelReLU("ReLU", {}),
            _KernelReLU("Activation", {"activation": "relu"}),
        ]
        transformer = tfmot.ModelTransformer(model, changes, set(layer_quantize_map), layer_quantize_map)
        return transformer.transform()


class _BeforeReLU(tfmot.Transform):  # type: ignore[misc]
    """Something before a ReLU whose output is not rounded, since that of the ReLU is."""

    before: tfmot.LayerPattern

    def __init__(self, kind: str, config: dict[str, Any]) -> None:
        self._kind, self._config = kind, config

    def pattern(self) -> Any:
        return tfmot.LayerPattern(self._kind, config=self._config, inputs=[self.before])

    def custom_objects(self) -> dict[str, Any]:
        return {
            "NoOpQuantizeConfig": tfmot.configs.NoOpQuantizeConfig,
            "NoOpActivation": tfmot.NoOpActivation,
        }


class _AddReLU(_BeforeReLU):
    before = tfmot.LayerPattern("Add")

    def replacement(self, match_layer: Any) -> Any:
        match_layer.input_layers[0].metadata["quantize_config"] = tfmot.configs.NoOpQuantizeConfig()
        return match_layer


class _KernelReLU(_BeforeReLU):
    before = tfmot.LayerPattern(_KERNELS, config={"activation": "linear"})

    def replacement(self, match_layer: Any) -> Any:
        nothing = {"class_name": "NoOpActivation", "config": {}}
        match_layer.input_layers[0].layer["config"]["activation"] = nothing
        return match_layer
