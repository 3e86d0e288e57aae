"""The op resolver of a network: a call for each kind of operator in it, and nothing else."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable
from pathlib import Path

from edgebuild.core.model import Operator
from edgebuild.errors import StepError

_TABLE = Path(__file__).parent / "resolver.toml"
_CUSTOM = "CUSTOM:"


def calls(operators: Iterable[Operator], name: str) -> tuple[str, ...]:
    """The methods of MicroMutableOpResolver to be called, each once and sorted; `name` is the network's, for errors.

    Raises:
        StepError: it has no method for an operator.
    """
    names = sorted({operator.name for operator in operators})
    unknown = [operator for operator in names if operator not in _methods()]
    if unknown:
        raise StepError(
            f"{name} cannot be handed over for TensorFlow Lite Micro",
            f"Its MicroMutableOpResolver adds no {', '.join(unknown)}.",
            "Replace the layers that these operators come from.",
        )
    return tuple(sorted(_methods()[operator] for operator in names))


@functools.cache
def _methods() -> dict[str, str]:
    """The method of each operator, by its name as in model.Operator."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {**table["builtin"], **{f"{_CUSTOM}{name}": method for name, method in table["custom"].items()}}
