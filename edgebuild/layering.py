"""Layers of settings laid over each other, where each value remembers which layer it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

Tree: TypeAlias = Mapping[str, object]


class Layer(NamedTuple):
    """One source of settings: a file, the environment, the options."""

    origin: str
    values: Tree


class Layered(NamedTuple):
    """The merged tree, and the origin of each leaf by its dotted path."""

    values: dict[str, object]
    origins: dict[str, str]

    def origin_of(self, path: str) -> str:
        """The origin of a leaf; of a table, that of its first leaf; of what is missing, that of the table around it."""
        below = next((origin for leaf, origin in self.origins.items() if leaf.startswith(f"{path}.")), "")
        above = path.rpartition(".")[0]
        return self.origins.get(path) or below or (self.origin_of(above) if above else "")


def overlay(layers: Iterable[Layer]) -> Layered:
    """Merge layers, later over earlier: tables key by key, everything else (arrays too) replaced whole."""
    merged = Layered({}, {})
    for layer in layers:
        _lay(merged.values, layer.values, layer.origin, "", merged.origins)
    return merged


def flatten(tree: Tree, prefix: str = "") -> dict[str, object]:
    """The leaves of a tree by dotted path, in order; an empty table is a leaf."""
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{path}.")
        else:
            leaves[path] = value
    return leaves


def _lay(into: dict[str, object], values: Tree, origin: str, prefix: str, origins: dict[str, str]) -> None:
    for key, value in values.items():
        path = f"{prefix}{key}"
        below = into.get(key)
        if isinstance(value, Mapping):
            if not isinstance(below, dict):
                _forget(path, origins)
                into[key] = below = {}
            _lay(below, value, origin, f"{path}.", origins)
        else:
            _forget(path, origins)
            into[key] = value
            origins[path] = origin


def _forget(path: str, origins: dict[str, str]) -> None:
    for known in [known for known in origins if known == path or known.startswith(f"{path}.")]:
        del origins[known]
