"""The order and the names of a file's inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tflite_networks import Network

from edgebuild import readback
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.rewriting import ends

CODE = schema.BuiltinOperator


def difference() -> bytes:
    """A file that takes "b" and "a" and gives "minus" and "plus", a - b and a + b."""
    made = Network()
    b, a = made.tensor("b", [1, 2]), made.tensor("a", [1, 2])
    minus, plus = made.tensor("minus", [1, 2]), made.tensor("plus", [1, 2])
    made.operator(CODE.SUB, [a, b], [minus], options=schema.SubOptionsT())
    made.operator(CODE.ADD, [a, b], [plus], options=schema.AddOptionsT())
    made.signature("serving_default", {"a": a, "b": b}, {"plus": plus, "minus": minus})
    return made.packed([b, a], [minus, plus])


def run(data: bytes, *inputs: list[float]) -> list[list[float]]:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], np.array([values], np.float32))
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"])[0].tolist() for details in interpreter.get_output_details()]


def test_ends_stand_in_the_order_asked_for_and_mean_what_they_did() -> None:
    data = difference()
    assert run(data, [1, 2], [10, 20]) == [[9, 18], [11, 22]]

    made = ends.ordered(data, ["a", "b"], ["plus", "minus"])

    assert run(made, [10, 20], [1, 2]) == [[11, 22], [9, 18]]
    spec = reader.parse(made, "made")
    assert [end.name for end in (*spec.inputs, *spec.outputs)] == ["a", "b", "plus", "minus"]
    assert ends.ordered(made, ["a", "b"], ["plus", "minus"]) == made


def test_a_file_whose_signature_has_other_names_is_left_alone() -> None:
    data = difference()
    assert ends.ordered(data, ["a", "c"], ["plus", "minus"]) == data


def test_a_tensor_that_is_two_outputs_has_both_names() -> None:
    made = Network()
    a, total = made.tensor("a", [1, 2]), made.tensor("total", [1, 2])
    other = made.tensor("other", [1, 2])
    made.operator(CODE.ADD, [a, a], [total], options=schema.AddOptionsT())
    made.operator(CODE.MUL, [a, a], [other], options=schema.MulOptionsT())
    made.signature("serving_default", {"a": a}, {"x": total, "y": other, "z": total})
    data = ends.ordered(made.packed([a], [total, total, other]), ["a"], ["z", "y", "x"])

    assert run(data, [1, 3]) == [[2, 6], [1, 9], [2, 6]]
    found = reader.parse(data, "made").outputs
    assert sorted(end.name for end in found) == ["x", "y", "z"]
    assert found[1].name == "y"
    assert found[0].index == found[2].index == total


def test_names_stand_as_the_file_does_whatever_order_they_are_known_in(tmp_path: Path) -> None:
    path = tmp_path / "difference.tflite"
    path.write_bytes(difference())
    file = reader.read(path)
    assert readback.names_in_file(file.inputs, file.inputs[::-1]) == ("b", "a")
    assert readback.names_in_file(file.outputs, file.outputs[::-1]) == ("minus", "plus")
