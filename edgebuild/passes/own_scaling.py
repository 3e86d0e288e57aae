"""Whether a network scales pixels by itself: a Rescaling or Normalization layer that an input goes into first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# A layer that takes pixels of 0 to 255 makes them smaller; one that takes 0 to 1 does not.
_LEAST_DEVIATION = 8.0


def inputs_of_pixels(model: Any, names: list[str]) -> tuple[str, ...]:
    """The inputs, by the names they have here, whose pixels of 0 to 255 the first layer scales.

    Args:
        model: of Keras 3 or tf_keras; None where there is a traced graph only.
        names: of its inputs, in order.
    """
    tensors = getattr(model, "inputs", None) or []
    if len(tensors) != len(names):
        return ()
    return tuple(name for name, tensor in zip(names, tensors, strict=True) if _is_scaled(model, tensor))


def _is_scaled(model: Any, tensor: Any) -> bool:
    for layer in getattr(model, "layers", ()):
        if not any(tensor is fed for fed in _fed(layer)):
            continue
        if type(layer).__name__ in ("Rescaling", "Normalization"):
            return _deviation(layer) >= _LEAST_DEVIATION
        inner = getattr(layer, "inputs", None) if hasattr(layer, "layers") else None
        if inner and len(inner) == 1:
            return _is_scaled(layer, inner[0])
    return False


def _fed(layer: Any) -> Iterator[Any]:
    """All tensors that a layer is called with."""
    for node in getattr(layer, "_inbound_nodes", ()):
        tensors = getattr(node, "input_tensors", ())
        yield from tensors if isinstance(tensors, list | tuple) else (tensors,)


def _deviation(layer: Any) -> float:
    """What a layer divides by, at least; 0 where that is not known."""
    if type(layer).__name__ == "Rescaling":
        scale = float(np.max(np.abs(np.asarray(layer.scale, np.float64))))
        return 1 / scale if scale else 0.0
    variance = getattr(layer, "variance", None)
    if variance is None or getattr(layer, "invert", False):
        return 0.0
    return float(np.sqrt(np.min(np.asarray(variance, np.float64))))
