"""Weights of Keras 3 layers put into the tf_keras layers made from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgebuild.passes.graph.keras3.configs import refused


def fill(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Give tf_keras layers, the second of each pair, the weights of the Keras 3 layers that they stand for.

    Raises:
        StepError: a layer has other weights in tf_keras.
    """
    for source, target in pairs:
        arrays = _in_order(source, target)
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in target.weights]:
            shapes = [tuple(variable.shape) for variable in target.weights]
            why = f"Its weights have the shapes {[array.shape for array in arrays]}, in tf_keras {shapes}."
            raise refused(source.name, type(source).__name__, why)
        target.set_weights(arrays)


def _in_order(source: Any, target: Any) -> list[Any]:
    """The arrays of a layer in the order of another one's variables, by the names that they share."""
    arrays = {_tail(variable.path, source.name): np.asarray(variable) for variable in source.weights}
    wanted = [_tail(variable.name.split(":")[0], target.name) for variable in target.weights]
    if set(arrays) == set(wanted) and len(arrays) == len(source.weights) == len(wanted):
        return [arrays[name] for name in wanted]
    return [np.asarray(variable) for variable in source.weights]


def _tail(path: str, name: str) -> str:
    """A variable's name without that of its layer."""
    return path.rpartition(f"{name}/")[2]
