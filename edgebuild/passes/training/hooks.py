"""How a pass takes part in a training: what it does between the steps of the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


def _nothing(_: float) -> None:
    """Leaves the network as it is."""


class Hooks(NamedTuple):
    """What is called around the steps of an optimizer.

    Each is given the share of the training that is done: the number of steps is known only once their speed is.

    Attributes:
        before_step: before the gradients are taken.
        after_step: after the weights were changed.
        settled_from: the share of the training after which the network has what the pass is for (all its zeros, say):
            the best epoch is chosen from those that end later.
        from_scratch: whether the network knows nothing yet: then its start is no epoch that may be chosen.
    """

    before_step: Callable[[float], None] = _nothing
    after_step: Callable[[float], None] = _nothing
    settled_from: float = 0.0
    from_scratch: bool = False


class Fit(Protocol):
    """A training, as the passes see it: data, teachers and settings are in it already."""

    def __call__(self, model: Any, *, hooks: Hooks = ..., part: float = ...) -> None:
        """Train a tf_keras model in place; `part` is the share of all the time or epochs that it takes."""
