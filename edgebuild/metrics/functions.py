"""Scores that are functions: the user's own, those of plug-ins, and Keras metrics."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from edgebuild.core.metric import Metric
from edgebuild.data.given import Array
from edgebuild.errors import EdgebuildError, StepError, UsageError

# Keras lives in the room of TensorFlow: it is looked up as a function of the user's is, by those alone who score by it.
_KERAS = "edgebuild.passes.keras_metrics:score"


def load_callable(path: str) -> Callable[..., Any]:
    """The function that module:callable names.

    Raises:
        UsageError: the module cannot be imported or has no such function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be loaded",
            str(error),
            "Modules are looked up in the working folder and in the environment.",
        ) from None
    except Exception as error:
        raise StepError(f"importing {module} failed", f"{type(error).__name__}: {error}") from None
    if not callable(function):
        raise UsageError(f"{path} is not callable")
    return function  # type: ignore[no-any-return]


def called(outputs: Array, y: Array, metric: Metric) -> float:
    """The score that a function or a Keras metric gives.

    Raises:
        UsageError: it cannot be found, or refuses its options.
        StepError: it failed.
    """
    named = metric.plugin.run if metric.plugin is not None else metric.name
    function = load_callable(_KERAS if metric.is_keras else named)
    path = metric.label
    try:
        return float(function(outputs, y, metric) if metric.is_keras else function(outputs, y))
    except EdgebuildError:
        raise
    except Exception as error:
        raise StepError(f"the metric {path} failed", f"{type(error).__name__}: {error}") from None
