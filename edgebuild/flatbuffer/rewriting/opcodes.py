"""Operators of a ModelT by their kind and version: which one there is, and new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

# The first version of QUANTIZE that takes integers.
REQUANTIZING = 2
_MOST_DEPRECATED = 127  # the old field of a code is one byte


def kind_of(model: Any, operator: Any) -> int:
    """The BuiltinOperator of an operator."""
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def place(model: Any, kind: int, version: int) -> int:
    """The place of an operator code, which is added where there is none."""
    for number, there in enumerate(model.operatorCodes):
        if (max(there.builtinCode, there.deprecatedBuiltinCode), there.version) == (kind, version):
            return number
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = kind, min(kind, _MOST_DEPRECATED), version
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1


def operator(model: Any, kind: int, version: int, inputs: Sequence[int], output: int) -> Any:
    """A new operator without options; it is not in any graph yet."""
    made = schema.OperatorT()
    made.opcodeIndex = place(model, kind, version)
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    return made
