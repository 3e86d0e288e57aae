"""Functions that commute with positive factors, f(s x) = s f(x), at least as long as nothing is cut off above."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_CUTS = {"linear": math.inf, "relu": math.inf, "leaky_relu": math.inf, "relu6": 6.0}


def cap_of(activation: Any) -> float | None:
    """Where an activation cuts off: infinity for nowhere, None if it does not commute with positive factors.

    Args:
        activation: as a layer's config has it: a name, a layer or function written as a dict, or None.
    """
    if isinstance(activation, Mapping):
        if activation.get("class_name") == "ReLU":
            return cap_of_relu(activation["config"])
        if activation.get("class_name") == "LeakyReLU":
            return math.inf
        activation = activation.get("config")  # a function, in the form in which Keras writes some
    if activation is None:
        return math.inf
    return _CUTS.get(activation) if isinstance(activation, str) else None


def cap_of_relu(config: Mapping[str, Any]) -> float | None:
    """The same for the layer ReLU with this config."""
    if float(config.get("threshold") or 0):
        return None
    cap = config.get("max_value")
    return math.inf if cap is None else float(cap)
