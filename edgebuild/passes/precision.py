"""Networks that compute in another precision than float32, built again to compute in float32.

TensorFlow Lite has no arithmetic in float16, bfloat16 or float64. A dtype policy says how Keras computes, not what:
the weights of mixed policies are float32 all along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edgebuild.errors import StepError
from edgebuild.passes import naming

_OTHERS = frozenset({"float16", "bfloat16", "float64"})
_POLICIES = _OTHERS | {f"mixed_{name}" for name in ("float16", "bfloat16")}
_WANTED = "float32"


class Single(NamedTuple):
    """A model that computes in float32, and a sentence where it was built again for that."""

    model: Any
    note: str = ""


def in_float32(model: Any) -> Single:
    """A model of Keras 3 or tf_keras that computes in float32: the same object where it does already.

    Raises:
        StepError: it does not, and cannot be built again from its configuration.
    """
    found: list[str] = []
    try:
        config = _rewritten(model.get_config(), "", found)
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        config = None
    if config is None or not naming.is_graph(model):
        found = [part.layer.compute_dtype for part in naming.parts(model) if _is_other(part.layer)]
        config = None
    if not found:
        return Single(model)
    if config is None:
        raise _refused(found[0], "It is a subclassed model, which has no configuration to build it again from.")
    try:
        made = type(model).from_config(config)
        made.set_weights([_single(array) for array in model.get_weights()])
    except Exception as error:  # whatever the code of a layer meets
        raise _refused(found[0], f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from None
    return Single(made, f"computed in float32: TensorFlow Lite has no arithmetic in {found[0].removeprefix('mixed_')}")


def require_float32(graph: Any, name: str) -> None:
    """Require of a traced function that it computes in no other precision.

    Raises:
        StepError: it does; the name of the network stands in it.
    """
    for node in _nodes(graph.as_graph_def()):
        if node.op != "Cast":
            for value in node.attr.values():
                if value.type in (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum):
                    raise StepError(
                        f"{name} computes in {tf.dtypes.as_dtype(value.type).name}",
                        "TensorFlow Lite has no such operators, and a traced function cannot be built again.",
                        "Give the .keras or .h5 file that it was exported from: that is computed in float32.",
                    )


def _nodes(definition: Any) -> list[Any]:
    return [*definition.node, *(node for function in definition.library.function for node in function.node_def)]


def _is_other(layer: Any) -> bool:
    return getattr(layer, "compute_dtype", None) in _OTHERS


def _refused(policy: str, why: str) -> StepError:
    return StepError(
        f"the network computes in {policy}, and cannot be built again in float32",
        f"TensorFlow Lite has no such operators. {why}",
        "Give a module:callable that builds it under the dtype policy float32 and sets its weights.",
    )


def _rewritten(item: Any, key: str, found: list[str]) -> Any:
    """A configuration in which every dtype that computes is float32; `found` gets those that were others."""
    if isinstance(item, Mapping):
        if str(item.get("class_name", "")).endswith("Policy") and item.get("config", {}).get("name") in _POLICIES:
            found.append(item["config"]["name"])
            return {**item, "config": {**item["config"], "name": _WANTED}}
        return {name: _rewritten(value, name, found) for name, value in item.items()}
    if isinstance(item, list | tuple) and not hasattr(item, "_fields"):
        return type(item)(_rewritten(value, key, found) for value in item)
    if isinstance(item, tf.DType):
        if item.name not in _OTHERS:
            return item
        found.append(item.name)
        return tf.float32
    if isinstance(item, str) and "dtype" in key and item in _POLICIES:
        found.append(item)
        return _WANTED
    return item


def _single(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype.name in _OTHERS else array
