from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.delivery import Layout, Vector
from edgebuild.core.model import ArtifactSpec, Operator, TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.emit.microcontroller import cpp, tensors
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.package import flash, package, resolver_calls
from edgebuild.errors import StepError

ROOT = Path(__file__).parents[2]
LAYOUTS = [layout for layout in Layout if layout is not Layout.OFF]
TABLE = tomllib.loads((ROOT / "edgebuild" / "emit" / "microcontroller" / "resolver.toml").read_text())


def model(*handles: str) -> bytes:
    """A .tflite file of VAR_HANDLE operators with the names given."""
    network, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    network.version, network.buffers, network.subgraphs = 3, [schema.BufferT()], [graph]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.VAR_HANDLE, 127
    network.operatorCodes, graph.operators = [code], []
    for name in handles:
        operator = schema.OperatorT()
        operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        operator.builtinOptions = schema.VarHandleOptionsT()
        operator.builtinOptions.sharedName = name
        graph.operators.append(operator)
    builder = flatbuffers.Builder(0)
    builder.Finish(network.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator(name: str) -> Operator:
    return Operator(name=name, version=1, tensor="", dtypes=("int8",), runtime="")


def firmware(**changes: Any) -> Firmware:
    """A network of one int8 input and output."""
    spec = ArtifactSpec(
        inputs=(TensorSpec(name="image", dtype="int8", shape=(1, 2, 2), scale=0.5, zero_point=-3),),
        outputs=(TensorSpec(name="scores", dtype="int8", shape=(1, 3), scale=0.25, zero_point=4),),
        operators=(operator("SOFTMAX"), operator("CONV_2D"), operator("CONV_2D")),
        signatures=(),
        activations_bytes=7,
    )
    plain = Firmware(name="net", data=model(), spec=spec, arena_bytes=1000, preprocess=Preprocess(scale=1.0, mean=0.0))
    return msgspec.structs.replace(plain, **changes)


def texts(given: Firmware, layout: Layout = Layout.PLAIN) -> dict[str, str]:
    return {file.path: file.content.decode() for file in package(given, layout)}


def test_the_array_is_the_file(assets: Path) -> None:
    data = (assets / "tflm" / "hello_world_int8.tflite").read_bytes()
    source = texts(firmware(data=data))["net_model.cc"]
    array = source[source.index("{\n    0x") :]
    assert bytes(int(literal, 16) for literal in re.findall(r"0x(..),", array)) == data


def test_a_package_is_the_same_each_time_and_its_files_are_sorted() -> None:
    for layout in LAYOUTS:
        files = package(firmware(), layout)
        assert files == package(firmware(), layout)
        assert [file.path for file in files] == sorted(file.path for file in files)


def test_nothing_is_emitted_where_the_layout_is_off() -> None:
    assert package(firmware(), Layout.OFF) == ()


def test_the_resolver_has_room_for_each_kind_of_operator_and_adds_it_once() -> None:
    header = texts(firmware())["net_ops.h"]
    assert "kOperatorCount = 2;" in header
    assert re.findall(r"resolver\.(\w+)\(\)", header) == ["AddConv2D", "AddSoftmax"]


def test_the_table_has_every_operator_that_the_profile_allows() -> None:
    allowed = tomllib.loads((ROOT / "targets" / "mcu.toml").read_text())["operators"]["allowed"]
    assert set(TABLE["builtin"]) == set(allowed)


def test_every_method_of_the_table_is_one_of_tflm() -> None:
    header = ROOT / "tests/unit/tflm_stand_in/tensorflow/lite/micro/micro_mutable_op_resolver.h"
    methods = re.findall(r"METHOD\((Add\w+)\)", header.read_text())
    named = [*TABLE["builtin"].values(), *TABLE["custom"].values()]
    assert len(methods) == 119
    assert len(named) == len(set(named))
    assert set(named) == set(methods) - {"AddBasicClassifier"}


def test_every_custom_operator_of_the_table_is_known_to_the_wheel() -> None:
    from edgebuild.runtimes.tflm import interpreter, wheel

    if wheel.version() is None:
        pytest.skip(f"there is no tflite-micro: {wheel.INSTALL}")
    # The driver of Ethos-U is not in a wheel for the host.
    assert interpreter.missing_kernels(f"CUSTOM:{name}" for name in TABLE["custom"]) == ("CUSTOM:ethos-u",)


def test_what_vela_made_is_handed_over_with_its_driver() -> None:
    assert resolver_calls([operator("CUSTOM:ethos-u")], "net") == ("AddEthosU",)


def test_an_operator_without_a_method_is_refused_by_name() -> None:
    with pytest.raises(StepError, match=r"adds no CUSTOM:edgetpu-custom-op, TOPK_V2"):
        resolver_calls([operator("TOPK_V2"), operator("CONV_2D"), operator("CUSTOM:edgetpu-custom-op")], "net")


@pytest.mark.parametrize(("needed", "margin", "reserved"), [(1000, 0.1, 1104), (1024, 0.0, 1024), (1, 0.0, 16)])
def test_the_arena_has_its_margin_and_is_a_multiple_of_16(needed: int, margin: float, reserved: int) -> None:
    header = texts(firmware(arena_bytes=needed, arena_margin=margin))["net_constants.h"]
    assert f"kArenaBytes = {reserved};" in header
    assert f"needs {needed} bytes on a 64-bit host" in header


def test_an_arena_that_was_not_measured_must_be_given_by_the_firmware() -> None:
    files = texts(firmware(arena_bytes=None))
    assert '#error "Define NET_ARENA_BYTES' in files["net_constants.h"]
    assert "pip install 'edgebuild[micro]'" in files["README.md"]


def test_flash_is_the_aligned_model_and_the_labels_with_a_pointer_each() -> None:
    counted = flash(firmware(data=bytes(33), labels=("a", "ä")))
    assert (counted.model_bytes, counted.label_bytes, counted.total_bytes) == (48, (2 + 4) + (3 + 4), 61)


def test_scale_and_zero_point_of_both_ends_are_there() -> None:
    header = texts(firmware())["net_constants.h"]
    for line in ("kInputScale = 0.5f;", "kInputZeroPoint = -3;", "kOutputScale = 0.25f;", "kOutputZeroPoint = 4;"):
        assert line in header
    assert "kInputShape[] = {1, 2, 2};" in header
    assert "kInputLength = 4;" in header


def test_several_inputs_are_numbered_as_in_the_file() -> None:
    spec = firmware().spec
    second = TensorSpec(name="mask", dtype="int32", shape=(), index=7)
    header = texts(firmware(spec=msgspec.structs.replace(spec, inputs=(*spec.inputs, second))))["net_constants.h"]
    assert 'Input0 "image".' in header
    assert 'Input1 "mask".' in header
    assert "using Input1Type = std::int32_t;" in header
    assert "kInput1Shape[] = {1};" in header
    assert "kInput1Scale" not in header


def test_what_must_be_done_to_a_sample_is_told_by_channel() -> None:
    files = texts(firmware(preprocess=Preprocess(scale=(0.5, 0.25, 2.0), mean=127.5)))
    assert "kMean[] = {127.5f, 127.5f, 127.5f};" in files["net_constants.h"]
    assert "kScale[] = {0.5f, 0.25f, 2.0f};" in files["net_constants.h"]
    assert "`Normalize` does" in files["README.md"]
    assert "Normalize" not in texts(firmware())["net_constants.h"]


def test_tokens_are_not_normalized() -> None:
    tokens = TensorSpec(name="tokens", dtype="int32", shape=(1, 9))
    given = firmware(
        spec=msgspec.structs.replace(firmware().spec, inputs=(tokens,)), preprocess=Preprocess(scale=0.5, mean=1.0)
    )
    assert "Normalize" not in "".join(texts(given).values())


def test_variables_are_counted_by_name_and_given_a_table() -> None:
    data = model("state", "cache", "state")
    assert tensors.variables_count(data) == 2
    files = texts(firmware(data=data))
    assert "kVariableCount = 2;" in files["net_constants.h"]
    assert "MicroResourceVariables::Create(allocator, net::kVariableCount)" in files["example.cc"]
    assert "MicroResourceVariables" not in texts(firmware())["example.cc"]


def test_the_readme_shows_the_example_that_is_there() -> None:
    for layout, path in {Layout.PLAIN: "example.cc", Layout.ARDUINO: "examples/net/net.ino"}.items():
        files = texts(firmware(), layout)
        assert f"```cpp\n{files[path]}```" in files["README.md"]


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("kws", "kws"),
        ("Mobile Net-V2", "mobile_net_v2"),
        ("7a", "n7a"),
        ("__x__y", "x_y"),
        ("für", "f_r"),
        ("網", "network"),
    ],
)
def test_names_become_identifiers(name: str, identifier: str) -> None:
    assert cpp.identifier(name) == identifier


def test_a_name_cannot_break_out_of_a_comment() -> None:
    for text in texts(firmware(name="a\n#error b\\")).values():
        assert "\n#error b" not in text
        assert not [line for line in text.splitlines() if line.startswith("//") and line.endswith("\\")]


@pytest.mark.parametrize("value", [0.1, 1e-9, 0.5847029, 3.0, -1 / 3, 1e30, 1.1754944e-38])
def test_a_float_reads_back_as_it_was(value: float) -> None:
    assert np.float32(cpp.real(value).removesuffix("f")) == np.float32(value)


def test_a_test_vector_that_does_not_fit_is_refused() -> None:
    with pytest.raises(StepError, match="the test vector has 3 bytes for Input, which holds 4 elements"):
        package(firmware(vector=Vector(inputs=(bytes(3),), outputs=(bytes(3),))))
    with pytest.raises(StepError, match="1 arrays for 2 inputs and outputs"):
        package(firmware(vector=Vector(inputs=(bytes(4),), outputs=())))


def test_an_input_that_cpp_has_no_type_for_is_refused() -> None:
    spec = msgspec.structs.replace(firmware().spec, inputs=(TensorSpec(name="words", dtype="string", shape=(1,)),))
    with pytest.raises(StepError, match="Input holds string"):
        package(firmware(spec=spec))


def test_arduino_finds_a_library_with_a_sketch_of_the_name_of_its_folder() -> None:
    files = texts(firmware(), Layout.ARDUINO)
    properties = dict(line.split("=", 1) for line in files["library.properties"].splitlines())
    # What the library specification requires.
    needed = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert needed <= set(properties)
    assert f"src/{properties['includes']}" in files
    assert "examples/net/net.ino" in files
    assert files["examples/net/net.ino"].index("#include <TensorFlowLite.h>") < files["examples/net/net.ino"].index(
        "net_"
    )


def test_every_source_that_a_build_file_names_is_there() -> None:
    esp = texts(firmware(), Layout.ESP_IDF)
    assert 'SRCS "net_model.cc" INCLUDE_DIRS "include"' in esp["CMakeLists.txt"]
    assert {"net_model.cc", "include/net_model.h", "examples/net/main/main.cc"} <= set(esp)
    assert "espressif/esp-tflite-micro" in esp["idf_component.yml"]
    zephyr = texts(firmware(), Layout.ZEPHYR)
    assert "zephyr_library_sources(src/net_model.cc)" in zephyr["CMakeLists.txt"]
    assert {"src/net_model.cc", "include/net_model.h", "samples/net/src/main.cc"} <= set(zephyr)
    assert "config NET_MODEL" in zephyr["Kconfig"]
    assert "CONFIG_NET_MODEL=y" in zephyr["samples/net/prj.conf"]


def test_no_placeholder_is_left() -> None:
    for layout, vector in itertools.product(LAYOUTS, (None, Vector(inputs=(bytes(4),), outputs=(bytes(3),)))):
        for path, text in texts(firmware(vector=vector), layout).items():
            left = re.findall(r"\$\w+|\$\{\w+\}", text)
            assert set(left) <= {"$ENV", "${CMAKE_CURRENT_SOURCE_DIR}"}, path
