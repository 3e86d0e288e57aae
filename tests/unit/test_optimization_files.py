from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, strategies as st

from edgebuild.errors import StepError
from edgebuild.flatbuffer import reader, weights
from edgebuild.flatbuffer.rewriting import sparsity, tight

BUILTIN, TYPE = schema.BuiltinOperator, schema.TensorType
CONVERTERS = weights.Layout((0, 1, 2, 3), {})  # how the converter lays out every kernel


def _kernel(channels: tuple[int, int], zeros: float, dtype: Any = np.float32) -> Any:
    rng = np.random.default_rng(0)
    values = rng.integers(1, 100, (channels[0], 1, 1, channels[1])).astype(dtype)
    values[rng.random(values.shape) < zeros] = 0
    return values


class _File:
    """A .tflite file of 1x1 convolutions one after another, each with a kernel that DENSIFY unpacks."""

    def __init__(self, *kernels: Any) -> None:
        self._model = schema.ModelT()
        self._model.version, self._model.buffers = 3, [schema.BufferT()]
        self._model.operatorCodes = [self._code(BUILTIN.DENSIFY), self._code(BUILTIN.CONV_2D)]
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]
        current = first = self._tensor("given", (1, 1, 1, kernels[0].shape[3]))
        for number, kernel in enumerate(kernels):
            encoded = weights.encode_sparse(kernel, CONVERTERS)
            packed = self._tensor(f"kernel {number}", kernel.shape, encoded.values)
            self._graph.tensors[packed].sparsity = encoded.parameters
            unpacked = self._tensor(f"kernel {number} unpacked", kernel.shape)
            bias = self._tensor(f"bias {number}", (kernel.shape[0],), np.zeros(kernel.shape[0], np.float32))
            result = self._tensor(f"layer {number}", (1, 1, 1, kernel.shape[0]))
            self._operator(0, [packed], [unpacked])
            self._operator(1, [current, unpacked, bias], [result], self._convolution())
            current = result
        self._graph.inputs, self._graph.outputs = [first], [current]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = [self._entry("x", first)], [self._entry("y", current)]
        self._model.signatureDefs = [signature]

    @property
    def data(self) -> bytes:
        return tight.pack(self._model)

    @staticmethod
    def _code(code: int) -> Any:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, 1
        return entry

    @staticmethod
    def _convolution() -> Any:
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        return options

    @staticmethod
    def _entry(name: str, tensor: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor
        return entry

    def _tensor(self, name: str, shape: tuple[int, ...], values: Any = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), TYPE.FLOAT32
        tensor.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self._model.buffers.append(buffer)
            tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _operator(self, code: int, inputs: list[int], outputs: list[int], options: Any = None) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
        if options is not None:
            operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
        self._graph.operators.append(operator)


def _run(data: bytes, x: Any) -> Any:
    interpreter = Interpreter(model_content=data)
    runner = interpreter.get_signature_runner("serving_default")
    return runner(x=x)["y"]


def _written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return path


@given(
    st.tuples(st.sampled_from([1, 4, 12]), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 4, 7, 16, 300])),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_encoded_in_any_layout_comes_back(shape: tuple[int, ...], zeros: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(-128, 128, shape).astype(np.int8)
    array[rng.random(shape) < zeros] = 0
    for layout in weights.sparse_layouts(shape):
        encoded = weights.encode_sparse(array, layout)
        np.testing.assert_array_equal(weights.decode_sparse(encoded.values, encoded.parameters, shape), array)
        tables = len(layout.order) + len(layout.blocks)
        exact = encoded.values.nbytes + weights.indices_bytes(encoded.parameters)
        # Sizes are told by the largest index that is possible, the tables have the narrowest type that does.
        assert exact <= weights.sparse_size_bytes(array, layout) - 44 * tables


def test_the_layout_of_blocks_leaves_out_blocks() -> None:
    array = np.zeros((8, 1, 1, 16), np.int8)
    array[4:, :, :, 8:12] = 1
    encoded = weights.encode_sparse(array, weights.Layout((0, 1, 2, 3), {0: 4, 3: 4}))
    assert encoded.values.size == 16
    assert encoded.parameters.blockMap.tolist() == [0, 3]


def test_tables_that_do_not_fit_are_refused() -> None:
    array = _kernel((8, 16), 0.5)
    encoded = weights.encode_sparse(array, CONVERTERS)
    with pytest.raises(ValueError, match="number of values"):
        weights.decode_sparse(encoded.values[:-1], encoded.parameters, array.shape)
    with pytest.raises(ValueError, match="outside"):
        weights.decode_sparse(encoded.values, encoded.parameters, (8, 1, 1, 4))
    with pytest.raises(ValueError, match="dimensions"):
        weights.decode_sparse(encoded.values, encoded.parameters, (8, 16))
    encoded.parameters.dimMetadata[0].denseSize *= 2
    with pytest.raises(ValueError, match="segments"):
        weights.decode_sparse(encoded.values, encoded.parameters, array.shape)


def test_each_kernel_is_stored_in_its_smallest_form_and_computes_the_same(tmp_path: Path) -> None:
    kernels = _kernel((512, 64), 0.8), _kernel((320, 512), 0.8), _kernel((32, 320), 0.05)
    given_file = _File(*kernels).data
    compacted = sparsity.compact(given_file)
    x = np.random.default_rng(1).normal(size=(1, 1, 1, 64)).astype(np.float32)
    np.testing.assert_array_equal(_run(compacted, x), _run(given_file, x))
    before, after = weights.read(_written(tmp_path, given_file)), weights.read(_written(tmp_path, compacted))
    for kernel, old, new in zip(kernels, before, after, strict=True):
        np.testing.assert_array_equal(old.values, kernel)
        np.testing.assert_array_equal(new.values, kernel)
        assert new.size_bytes <= old.size_bytes
    assert [item.is_sparse for item in after] == [True, True, False]
    assert len(compacted) < len(given_file)
    spec = reader.read(_written(tmp_path, compacted))
    assert [operator.name for operator in spec.operators].count("DENSIFY") == 2
    assert (spec.inputs[0].name, spec.outputs[0].name) == ("x", "y")


def test_a_file_without_sparse_tensors_comes_back_as_it_is() -> None:
    dense = sparsity.compact(_File(_kernel((32, 64), 0.05)).data)
    assert sparsity.compact(dense) is dense


def test_weights_are_described_as_they_are_stored(tmp_path: Path) -> None:
    kernel = np.zeros((4, 1, 1, 64), np.float32)
    kernel[:, :, :, :16] = [1, 2, 3, 4] * 4
    (found,) = weights.read(_written(tmp_path, _File(kernel).data))
    assert (found.operator, found.output, found.sparsity, found.unique) == ("CONV_2D", "layer 0", 0.75, 5)
    assert found.is_sparse
    assert found.size_bytes == 64 * 4 + 64 + 5  # float32 values, indices of a byte, five segment borders of a byte


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = _File(_kernel((8, 16), 0.5)).data
    with pytest.raises(StepError, match=r"model\.tflite"):
        weights.read(_written(tmp_path, whole[: len(whole) // 2]))


def test_what_a_file_says_twice_is_stored_once() -> None:
    kernel = _kernel((64, 64), 0.0)
    once, twice = _File(kernel).data, _File(kernel, kernel).data
    assert len(twice) - len(once) < 1000 < kernel.nbytes
    x = np.ones((1, 1, 1, 64), np.float32)
    np.testing.assert_array_equal(_run(twice, x), _run(once, _run(once, x)))
