"""Files of one dense layer, made without TensorFlow."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_networks import TYPE, Network


@functools.cache
def dense_file(
    text: str, *, dtype: int, has_float_ends: bool, tail: tuple[str, ...] = (), keeps_state: bool = False
) -> bytes:
    """A file of one dense layer, of other weights for each text; then a tail of operators of one input each.

    `dtype` is of what is computed: FLOAT32, INT8 or INT16 of the schema.
    """
    net, code = Network(), schema.BuiltinOperator
    weights = [byte % 100 for byte in hashlib.sha256(text.encode()).digest()[:12]]
    fine: dict[str, Any] = {"scale": [0.5], "zero_point": [0]}
    options = schema.FullyConnectedOptionsT()
    if keeps_state:
        net.tensor("state", [1, 4], variable=True)

    def tailed(last: int, **more: Any) -> int:
        for name in tail:
            made = net.tensor(f"net/{name.lower()}/out", [1, 3], dtype, **more)
            net.operator(getattr(code, name), [last], [made])
            last = made
        return last

    if dtype == TYPE.FLOAT32:
        given, made = net.tensor("x", [1, 4]), net.tensor("net/dense/MatMul", [1, 3])
        kernel = net.tensor("w", [3, 4], constant=True, data=list(np.asarray(weights, np.float32).tobytes()))
        net.operator(code.FULLY_CONNECTED, [given, kernel], [made], options=options)
        return net.packed([given], [tailed(made)])
    given = net.tensor("x", [1, 4]) if has_float_ends else None
    taken = net.tensor("x_int8" if has_float_ends else "x", [1, 4], dtype, **fine)
    kernel = net.tensor("w", [3, 4], TYPE.INT8, constant=True, data=weights, **fine)
    made = net.tensor("net/dense/MatMul", [1, 3], dtype, **fine)
    if given is not None:
        net.operator(code.QUANTIZE, [given], [taken])
    net.operator(code.FULLY_CONNECTED, [taken, kernel], [made], version=4, options=options)
    made = tailed(made, **fine)
    if given is None:
        return net.packed([taken], [made])
    last = net.tensor("y", [1, 3])
    net.operator(code.DEQUANTIZE, [made], [last], version=2)
    return net.packed([given], [last])
