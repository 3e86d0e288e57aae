"""Resource variables, which TFLM keeps in a table that firmware must size."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema


def count(data: bytes) -> int:
    """How many resource variables a .tflite file has; by their names, as TFLM counts them."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    handle = schema.BuiltinOperator.VAR_HANDLE
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes or ()]
    handles = [
        operator.builtinOptions
        for graph in model.subgraphs
        for operator in graph.operators or ()
        if codes[operator.opcodeIndex] == handle
    ]
    return len({(options.container, options.sharedName) for options in handles if options is not None})
