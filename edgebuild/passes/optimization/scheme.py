"""How layers are quantized in training: tfmot's default scheme, and its preserving ones for layers that need them."""

from __future__ import annotations

from typing import Any

from edgebuild.passes.optimization import activations, tfmot
from edgebuild.passes.optimization.clustering import clusters_in
from edgebuild.passes.optimization.quantizers import ClusteredWeights

_KERNELS = "Conv2D|DepthwiseConv2D|Dense"
_PRESERVED = frozenset({"Conv2D", "Dense"})
# What tfmot takes as a layer of its own.
_OUTER = frozenset({*activations.INNER, "relu6"})
# Split by tfmot into layers that it knows, before any is wrapped; of a layer that is called several times it is not.
_SPLIT = frozenset({"SeparableConv2D"})
# Of these, which tfmot does not know, the output is rounded. Unless all tensors around a kernel have a range here, the
# converter chooses its own for the kernel too, and clusters are lost.
_ROUNDED_BEHIND = frozenset(
    {"BatchNormalization", "SyncBatchNormalization", "Maximum", "Minimum", "Multiply", "Rescaling", "Subtract"}
)


def supports(layer: Any) -> bool:
    """Whether a layer can be quantized in training; activations of other kinds have their own (`activations`)."""
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
            config.weight_quantizer = ClusteredWeights(
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
    return name in (_OUTER if type(layer).__name__ == "Activation" else activations.INNER)


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
