"""Files that TensorFlow's writers do not make, and that LiteRT and TFLM run all the same: they are not damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgebuild.cli import run
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import tight, timed_parts
from edgebuild.pipeline import benching

_SHAPE = LayerShape(kind=LayerKind.CONV_2D, in_channels=4, out_channels=5, kernel=(3, 3), height=6, width=6)
_WORD_BYTES = 4


class _Word(flatbuffers.Builder):
    """Aligns nothing to more than four bytes, as writers of some vendors do."""

    def Prep(self, size: int, additionalBytes: int) -> None:  # noqa: N802, N803
        super().Prep(min(size, _WORD_BYTES), additionalBytes)


def _model() -> Any:
    model = schema.ModelT.InitFromPackedBuf(timed_parts.artifact_of_layer(_SHAPE), 0)
    for tensor in model.subgraphs[0].tensors:
        # Lists, each element of which the builder places by itself.
        tensor.quantization.zeroPoint = [int(value) for value in tensor.quantization.zeroPoint]
    return model


def _packed(model: Any, builder: Any = None) -> bytes:
    builder = builder or flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _of_words() -> bytes:
    """The vectors of 64-bit numbers lie at every other multiple of four, some of them at no multiple of eight."""
    for length in range(8):
        model = _model()
        model.description = b"x" * 4 * length
        data = _packed(model, _Word(1024))
        places = [tensor.Quantization() for tensor in _tensors(data)]
        tables = [found._tab for found in places]
        if any(table.Vector(table.Offset(10)) % 8 for table in tables):
            return data
    raise AssertionError("no vector came to lie so")


def _tensors(data: bytes) -> list[Any]:
    graph = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    return [graph.Tensors(index) for index in range(graph.TensorsLength())]


def _with_text_behind() -> bytes:
    return _packed(_model()) + b"the signature of a vendor, which is no archive"


def _with_padding_behind() -> bytes:
    return _packed(_model()) + bytes(512)


def _with_more_constants() -> bytes:
    model = _model()
    weights = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
    buffer = model.buffers[weights.buffer]
    buffer.data = np.concatenate([np.asarray(buffer.data, np.uint8), np.zeros(12, np.uint8)])
    return _packed(model)


def _with_metadata_of_nothing() -> bytes:
    model = _model()
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"a note", 1000
    model.metadata = [entry]
    return _packed(model)


def _with_a_tensor_that_nobody_uses() -> bytes:
    model = _model()
    spare = schema.TensorT()
    spare.shape, spare.type, spare.name = [3], schema.TensorType.INT64, b"spare"
    model.subgraphs[0].tensors.append(spare)
    return _packed(model)


def _bare() -> bytes:
    model = _model()
    model.description = model.signatureDefs = model.metadata = model.metadataBuffer = None
    model.subgraphs[0].name = None
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
    return _packed(model)


_MAKERS = [
    _of_words,
    _with_text_behind,
    _with_padding_behind,
    _with_more_constants,
    _with_metadata_of_nothing,
    _with_a_tensor_that_nobody_uses,
    _bare,
]


def _outputs(data: bytes, path: Path) -> Any:
    """What LiteRT computes of a file for the same numbers each time."""
    path.write_bytes(data)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    drawn = np.random.default_rng(0).integers(-128, 128, given["shape"], np.int8)
    interpreter.set_tensor(given["index"], drawn)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("make", _MAKERS)
def test_what_runs_is_inspected_found_and_rewritten(
    make: Callable[[], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, path = make(), tmp_path / "net.tflite"
    expected = _outputs(timed_parts.artifact_of_layer(_SHAPE), tmp_path / "usual.tflite")
    np.testing.assert_array_equal(_outputs(data, path), expected)
    assert inspect(data, "net").doubts == ()
    assert run(["inspect", str(path)]) == 0
    capsys.readouterr()
    assert len(benching.find(path, None)) == 1
    assert [operator.name for operator in reader.read(path).operators] == ["CONV_2D"]
    np.testing.assert_array_equal(_outputs(tight.share(data), path), expected)


@pytest.mark.parametrize("make", _MAKERS)
def test_tflm_runs_it_as_well(make: Callable[[], bytes]) -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(make(), arena_size=100_000)
    interpreter.invoke()


def test_the_rest_of_an_archive_is_damage() -> None:
    lost = _packed(_model()) + b"PK\x03\x04" + bytes(100)
    assert "the end of one is missing" in inspect(lost, "net").doubts[0]


def test_numbers_that_lie_between_words_are_refused() -> None:
    data = bytearray(_packed(_model()))
    offset = int.from_bytes(data[:4], "little")
    with pytest.raises(StepError, match="is damaged"):
        inspect(bytes([*(offset + 2).to_bytes(4, "little"), *data[4:]]), "net")
