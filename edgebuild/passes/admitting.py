"""What a network's file may name: its configuration is read here before a framework sees it.

To build a network from its configuration, both Kerases look names up: of layers, of functions, of modules to import.
Whoever writes the file chooses them, so that only names are let through of which it is known that they compute and do
nothing else. The lists are in admitted.toml.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.errors import StepError

_LISTS = Path(__file__).with_name("admitted.toml")
_MODULE = re.compile(r"(?:keras|tf_keras|builtins)(?:\.\w+)*|tensorflow\.python\.ops\.init_ops_v2")
_LAMBDAS = frozenset({"Lambda", "__lambda__"})
_CALLS = frozenset({"TFOpLambda", "SlicingOpLambda"})  # which name a function of TensorFlow
_OLD = "compat.v1."
_DEEPEST = 200  # within each other: models in models, and the arguments of their layers
ALLOW = "If you trust its author, allow the code with --allow-code."
_OR_CALLABLE = (
    f"Give a network with classes of your own as module:callable, or export it with model.export(FOLDER). {ALLOW}"
)


class Refusal(NamedTuple):
    """What is not let through, and what that would do."""

    what: str
    why: str
    remedy: str = _OR_CALLABLE


class _Lists(NamedTuple):
    classes: frozenset[str]
    models: frozenset[str]
    activations: frozenset[str]
    functions: frozenset[str]  # by the name that they are written down by as objects
    of_tensorflow: frozenset[str]
    operators: frozenset[str]


def require(config: object, file: Path) -> None:
    """Refuse a configuration that names what is not known.

    Args:
        config: of a whole model, as its file holds it in JSON.
        file: for errors.

    Raises:
        StepError: names the layer.
    """
    found = next(refusals(config), None)
    if found is not None:
        raise StepError(f"{file} {found.what}", found.why, found.remedy)


def refusals(config: object) -> Iterator[Refusal]:
    """All that is not let through, Python code first."""
    # What the whole model was trained with is never built.
    top = (
        {key: value for key, value in config.items() if key != "compile_config"} if isinstance(config, dict) else config
    )
    found = list(_refused(top, "", 0))
    lambdas = sorted({item.what for item in found if not item.why})
    if lambdas:
        what = f"holds Python code: Lambda layer {', '.join(lambdas)}"
        yield Refusal(what, "Loading it would run that code on this machine.", ALLOW)
    yield from (item for item in found if item.why)


def known_operators() -> frozenset[str]:
    """The operators of graphs that compute and do nothing else."""
    return _lists().operators


def is_code_free(metadata: bytes) -> bool:
    """Whether a layer of a SavedModel, as Keras describes it in JSON, may be built from that description.

    A class that is not known is not built: such layers are made of their traced functions alone.
    """
    try:
        described = json.loads(metadata)
    except (ValueError, RecursionError):
        return False
    name = described.get("class_name") if isinstance(described, dict) else None
    if not isinstance(name, str):
        return name is None
    if name in _lists().models:
        return True  # a model is put together of layers, each of which is described by itself
    is_built = name in _lists().classes or name in _LAMBDAS or name in _CALLS
    named = {key: described.get(key) for key in ("class_name", "config", "name")}
    return not is_built or next(refusals(named), None) is None


def _refused(value: object, layer: str, depth: int) -> Iterator[Refusal]:
    if depth > _DEEPEST:
        yield Refusal("is nested too deeply", "No network that was saved is.")
    elif isinstance(value, list):
        for item in value:
            yield from _refused(item, layer, depth + 1)
    elif isinstance(value, dict):
        if "class_name" in value:
            layer = _name(value) or layer
            yield from _of_object(value, layer)
        for key, item in value.items():
            if str(key).endswith("activation") and isinstance(item, str):
                yield from _of_activation(item, layer)
            yield from _refused(item, layer, depth + 1)


def _of_object(item: dict[str, Any], layer: str) -> Iterator[Refusal]:
    """What is wrong with an object that a framework would make: its class, and where that is looked up."""
    name, config = item["class_name"], item.get("config")
    where = f"the layer {layer}" if layer else "its configuration"
    if isinstance(name, str) and name in _LAMBDAS:
        yield Refusal(layer or "?", "")
        return
    unknown = _unknown_of(name, config)
    if unknown:
        yield _unknown(unknown, where)
    module, registered = item.get("module"), item.get("registered_name")
    if module is not None and not (isinstance(module, str) and _MODULE.fullmatch(module)):
        yield _unknown(f"{module!r:.80} as the module of {name!r:.80}", where)
    if registered is not None and registered not in (name, f"keras>{name}", config if name == "function" else name):
        yield _unknown(f"{registered!r:.80} as the registered name of {name!r:.80}", where)
    vocabulary = config.get("vocabulary") if isinstance(config, dict) else None
    if isinstance(vocabulary, str):
        why = "Loading it would read that file, which its author has chosen."
        yield Refusal(f"names a file for the vocabulary of {where}: {vocabulary!r:.80}", why)


def _unknown_of(name: object, config: object) -> str:
    """What of a class, or of the function that it calls, is not known; empty where all is."""
    if name == "function":
        is_known = isinstance(config, str) and config in _lists().functions
        return "" if is_known else f"the function {config!r:.80}"
    if isinstance(name, str) and name in _CALLS:
        function = config.get("function") if isinstance(config, dict) else None
        is_known = isinstance(function, str) and function.removeprefix(_OLD) in _lists().of_tensorflow
        return "" if is_known else f"the function {function!r:.80} of TensorFlow"
    is_known = isinstance(name, str) and name.removeprefix("keras>") in _lists().classes
    return "" if is_known else f"the class {name!r:.80}"


def _of_activation(name: str, layer: str) -> Iterator[Refusal]:
    if name not in _lists().activations:
        yield _unknown(f"the activation {name!r:.80}", f"the layer {layer}")


def _unknown(what: str, where: str) -> Refusal:
    return Refusal(
        f"names {what} in {where}",
        "Only what is known to compute and do nothing else is loaded: names decide which code runs.",
    )


def _name(item: dict[str, Any]) -> str:
    inner = item.get("config")
    own = inner.get("name") if isinstance(inner, dict) else None
    return str(own or item.get("name") or "")[:80]


@functools.cache
def _lists() -> _Lists:
    lists = tomllib.loads(_LISTS.read_text(encoding="utf-8"))
    classes = (lists[kind] for kind in ("layers", "models", "parts", "operations", "training", "values"))
    of_tensorflow = {
        name if module == "tf" else f"{module}.{name}" for module, names in lists["functions"].items() for name in names
    }
    return _Lists(
        frozenset().union(*classes),
        frozenset(lists["models"]),
        frozenset(lists["activations"]),
        frozenset(lists["activations"]) | frozenset(lists["training_functions"]),
        frozenset(of_tensorflow),
        frozenset(lists["operators"]),
    )
