"""Families of `applications` with each kind of block and hardly a repetition: what they are built of, in less time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

_RS_BLOCKS = [
    {"input_filters": filters, "num_repeats": repeats} for filters, repeats in ((16, 2), (24, 1), (32, 2), (40, 1))
]
# By family: the module, its builder, and what the builder is given, in both Kerases alike.
_BUILDERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "ConvNeXt": ("convnext", "ConvNeXt", {"depths": [1, 1, 2, 1], "projection_dims": [8, 16, 24, 32]}),
    "DenseNet": ("densenet", "DenseNet", {"blocks": [2, 3, 2, 2]}),
    "EfficientNet": ("efficientnet", "EfficientNet", {"width_coefficient": 0.5, "depth_coefficient": 0.3}),
    "EfficientNetV2": ("efficientnet_v2", "EfficientNetV2", {"width_coefficient": 0.5, "depth_coefficient": 0.3}),
    "NASNet": ("nasnet", "NASNet", {"penultimate_filters": 96, "num_blocks": 1, "stem_block_filters": 8}),
    "RegNetY": ("regnet", "RegNet", {"depths": [1, 1, 2, 2], "widths": [16, 32, 48, 64], "group_width": 16}),
    "ResNetRS": ("resnet_rs", "ResNetRS", {"depth": 50, "block_args": _RS_BLOCKS}),
}
_MORE: Mapping[str, Mapping[str, Any]] = {"NASNet": {"skip_reduction": False}, "RegNetY": {"block_type": "Y"}}
_SIZED = ("ConvNeXt", "EfficientNet", "EfficientNetV2", "RegNetY")  # for another side of images than this they warn
_SIDE = 224


def model(kit: Any, family: str, side: int, classes: int = 10) -> Any:
    """A network of a family in either Keras, with random weights and logits: images of that side to classes."""
    module, builder, options = _BUILDERS[family]
    more = {**_MORE.get(family, {}), **({"default_size": _SIDE} if family in _SIZED else {})}
    if family == "EfficientNetV2":  # looks its blocks up by its name
        more |= {"name" if kit.__name__ == "keras" else "model_name": "efficientnetv2-b0"}
    build = getattr(importlib.import_module(f"{kit.__name__}.src.applications.{module}"), builder)
    ends = {"weights": None, "classes": classes, "input_shape": (side, side, 3), "classifier_activation": None}
    return build(**options, **more, **ends)
