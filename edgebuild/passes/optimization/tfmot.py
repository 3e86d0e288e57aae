"""The parts of tensorflow-model-optimization that passes build on; those below `python.core` are its own affairs."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # Only to compare TensorFlow's version it asks distutils, which warns.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorflow_model_optimization.clustering.keras import CentroidInitialization, strip_clustering
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import GradientAggregation
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import ClusterWeights
    from tensorflow_model_optimization.python.core.clustering.keras.clustering_algorithm import ClusteringAlgorithm
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
        default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
        default_8bit_prune_preserve_quantize_scheme as prune_preserve,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs as configs,
        default_8bit_transforms as layout,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (  # noqa: E501 its own name
        Default8BitQuantizeRegistry,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_scheme import (
        Default8BitQuantizeScheme,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations.model_transformer import (
        ModelTransformer,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations.transforms import (
        LayerPattern,
        Transform,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_aware_activation import NoOpActivation
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layout_transform import (
        QuantizeLayoutTransform,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper
    from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
        AllValuesQuantizer,
        LastValueQuantizer,
    )
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
    from tensorflow_model_optimization.quantization.keras import (
        quantize_annotate_layer,
        quantize_apply,
        quantize_scope,
    )
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

__all__ = [
    "AllValuesQuantizer",
    "CentroidInitialization",
    "ClusterWeights",
    "ClusteringAlgorithm",
    "ConstantSparsity",
    "Default8BitQuantizeRegistry",
    "Default8BitQuantizeScheme",
    "GradientAggregation",
    "LastValueQuantizer",
    "LayerPattern",
    "ModelTransformer",
    "NoOpActivation",
    "Pruning",
    "QuantizeLayoutTransform",
    "QuantizeWrapper",
    "Transform",
    "cluster_preserve",
    "configs",
    "layout",
    "prune_preserve",
    "quantize_annotate_layer",
    "quantize_apply",
    "quantize_scope",
    "strip_clustering",
]
