"""The arguments of TensorFlow functions that a network calls, by the names that the functions have for them.

The only way to read them: tf_keras writes a call into a file as its first argument and keywords for all the others, so
that what was passed by position before (`x[:, -1]`) has a name after the network was saved and loaded again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


class Arguments:
    """The arguments of a call.

    Args:
        function: the public name of a function of TensorFlow: "nn.relu", "__operators__.getitem", "compat.v1.pad".
        args: as they were passed by position.
        kwargs: as they were passed by name.
    """

    def __init__(self, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._signature = _signature(function)
        self._by_name = kwargs
        self._values = self._signature.bind(*args, **kwargs).arguments

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the default where it was not passed."""
        return self._values.get(name, default)

    def path(self, name: str) -> tuple[str | int, ...]:
        """Where an argument that was passed stands in its call: ("kwargs", name) or ("args", position)."""
        return ("kwargs", name) if name in self._by_name else ("args", list(self._signature.parameters).index(name))

    @property
    def operands(self) -> list[Any]:
        """All that was passed, in the order of the function's own parameters, but for the name of the operation."""
        return [self._values[name] for name in self._signature.parameters if name in self._values and name != "name"]


@functools.cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(functools.reduce(getattr, name.split("."), tf))
