"""What is emitted for microcontrollers, given to compilers. TFLM's headers are stood in for: see tflm_stand_in."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_emitted_package import firmware, model, texts

from edgebuild.core.delivery import Layout, Vector
from edgebuild.core.model import ArtifactSpec, TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.emit.microcontroller.firmware import Firmware
from edgebuild.emit.microcontroller.package import flash, package
from edgebuild.flatbuffer import reader

LAYOUTS = [layout for layout in Layout if layout is not Layout.OFF]
STAND_IN = Path(__file__).parent / "tflm_stand_in"
HOST = shutil.which("g++")
ARM = shutil.which("arm-none-eabi-g++")
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wdouble-promotion", "-Werror"]
HEADERS = {Layout.PLAIN: ".", Layout.ARDUINO: "src", Layout.ESP_IDF: "include", Layout.ZEPHYR: "include"}

pytestmark = pytest.mark.skipif(HOST is None, reason="there is no g++ (apt-get install g++)")


def _write(given: Firmware, folder: Path, layout: Layout = Layout.PLAIN) -> Path:
    for file in package(given, layout):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    return folder


def _compile(compiler: str | None, folder: Path, *arguments: object, include: str = ".") -> None:
    assert compiler is not None
    command = [compiler, *WARNINGS, "-I", include, "-isystem", STAND_IN, *arguments]
    ran = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def _run(folder: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([folder / "program"], cwd=folder, input=stdin, capture_output=True, check=False)


@pytest.fixture
def kws(assets: Path) -> Firmware:
    path = assets / "kws" / "reference_int8.tflite"
    stored = np.random.default_rng(0).integers(-128, 128, 490).astype(np.int8)
    return Firmware(
        name="kws",
        data=path.read_bytes(),
        spec=reader.read(path),
        arena_bytes=24_272,
        preprocess=Preprocess(scale=1.0, mean=0.0),
        labels=("down", 'a "b"', "ü??/", "tab\there"),
        vector=Vector(inputs=(stored.tobytes(),), outputs=(bytes(range(250, 256)) + bytes(6),)),
    )


def _everything() -> Firmware:
    """Two inputs and outputs of the types that there are, preprocessing, variables and a vector."""
    dtypes = ("uint8", "int16", "int32", "int64", "float32", "bool")
    tensors = [
        TensorSpec(name=f"t {d}\\", dtype=d, shape=(1, 3), scale=0.25 * (d in ("uint8", "int16"))) for d in dtypes
    ]
    values = (
        np.array([0, 7, 255], np.uint8),
        np.array([-(2**15), 0, 2**15 - 1], np.int16),
        np.array([-(2**31), 0, 2**31 - 1], np.int32),
        np.array([-(2**63), 0, 2**63 - 1], np.int64),
        np.array([1e-9, np.inf, np.pi], np.float32),
        np.array([True, False, True]),
    )
    held = tuple(array.tobytes() for array in values)
    spec = ArtifactSpec(
        inputs=tuple(tensors[:3]),
        outputs=tuple(tensors[3:]),
        operators=firmware().spec.operators,
        signatures=(),
        activations_bytes=0,
    )
    return firmware(
        name="class 7",
        data=model("state"),
        spec=spec,
        preprocess=Preprocess(scale=(0.5, 1 / 255), mean=(1.0, 127.5)),
        labels=("yes",),
        vector=Vector(inputs=held[:3], outputs=held[3:]),
    )


@pytest.mark.parametrize("compiler", [HOST, ARM], ids=["host", "arm"])
@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_every_source_compiles_without_a_warning(
    kws: Firmware, tmp_path: Path, compiler: str | None, standard: str
) -> None:
    if compiler is None:
        pytest.skip("there is no arm-none-eabi-g++ (apt-get install gcc-arm-none-eabi)")
    given = {"kws": kws, "kws without": msgspec.structs.replace(kws, vector=None), "everything": _everything()}
    for name, network in given.items():
        folder = _write(network, tmp_path / name)
        for source in folder.glob("*.cc"):
            _compile(compiler, folder, f"-std={standard}", "-fsyntax-only", source.name)


@pytest.mark.parametrize("layout", [Layout.ESP_IDF, Layout.ZEPHYR, Layout.ARDUINO])
def test_the_sources_of_every_layout_compile(kws: Firmware, tmp_path: Path, layout: Layout) -> None:
    folder = _write(kws, tmp_path / "package", layout)
    # Arduino puts its own header before a sketch.
    (tmp_path / "Arduino.h").write_text("void setup();\nvoid loop();\n")
    (tmp_path / "TensorFlowLite.h").touch()
    sources = [path for path in folder.rglob("*") if path.suffix in (".cc", ".cpp", ".ino")]
    assert len(sources) == 2
    for source in sources:
        sketch = ["-I", tmp_path, "-include", "Arduino.h"] if layout is Layout.ARDUINO else []
        _compile(HOST, folder, *sketch, "-fsyntax-only", "-x", "c++", source, include=HEADERS[layout])


def test_the_example_in_the_readme_compiles(kws: Firmware, tmp_path: Path) -> None:
    folder = _write(kws, tmp_path)
    (found,) = re.findall(r"```cpp\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (folder / "copied.cc").write_text(found)
    _compile(HOST, folder, "-fsyntax-only", "copied.cc")


def test_the_linked_array_is_the_file_and_aligned(kws: Firmware, tmp_path: Path) -> None:
    folder = _write(kws, tmp_path)
    (folder / "dump.cc").write_text(
        '#include <cstdint>\n#include <cstdio>\n#include "kws_model.h"\n'
        "int main() {\n"
        "  std::fwrite(kws_model::kData, 1, kws_model::kSizeBytes, stdout);\n"
        "  return static_cast<int>(reinterpret_cast<std::uintptr_t>(kws_model::kData) % 16);\n}\n"
    )
    _compile(HOST, folder, "dump.cc", "kws_model.cc", "-o", "program")
    ran = _run(folder)
    assert ran.returncode == 0
    assert ran.stdout == kws.data


def _listed(tool: str, folder: Path, *arguments: str) -> str:
    return subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("nm") is None, reason="there are no binutils (apt-get install binutils)")
def test_flash_is_what_the_objects_hold(kws: Firmware, tmp_path: Path) -> None:
    odd = msgspec.structs.replace(kws, data=kws.data + b"\0" * 5)
    folder = _write(odd, tmp_path)
    (folder / "labels.cc").write_text(
        '#include "kws_constants.h"\nextern const char* const* const kUsed;\n'
        "const char* const* const kUsed = kws_model::kLabels;\n"
    )
    for name in ("kws_model", "labels"):
        _compile(HOST, folder, "-Os", "-fno-pie", "-c", f"{name}.cc", "-o", f"{name}.o")
    (model_bytes,) = re.findall(r"^\.rodata +(\d+)", _listed("size", folder, "-A", "kws_model.o"), re.MULTILINE)
    assert int(model_bytes) == len(odd.data)
    assert 0 <= flash(odd).model_bytes - len(odd.data) < 16
    (string_bytes,) = re.findall(r"^\.rodata\.str\S+ +(\d+)", _listed("size", folder, "-A", "labels.o"), re.MULTILINE)
    (pointer_bytes,) = re.findall(r"^\w+ (\w+) r .*kLabels", _listed("nm", folder, "-S", "labels.o"), re.MULTILINE)
    # On the host a pointer takes 8 bytes, not 4.
    assert flash(odd).label_bytes == int(string_bytes) + int(pointer_bytes, 16) // 2


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("int8", 0.5, -3), ("int8", 0.5847029, 83), ("uint8", 1 / 255, 128), ("int16", 3.0518e-5, 0)],
)
def test_the_helpers_quantize_as_tensorflow_lite_does(
    tmp_path: Path, dtype: str, scale: float, zero_point: int
) -> None:
    tensor = TensorSpec(name="x", dtype=dtype, shape=(1,), scale=float(np.float32(scale)), zero_point=zero_point)
    spec = msgspec.structs.replace(firmware().spec, inputs=(tensor,), outputs=(tensor,))
    folder = _write(firmware(spec=spec), tmp_path)
    (folder / "convert.cc").write_text(
        '#include <cstdio>\n#include "net_constants.h"\n'
        "int main() {\n"
        "  float real;\n"
        "  while (std::fread(&real, sizeof real, 1, stdin) == 1) {\n"
        "    const net_model::InputType stored = net_model::QuantizeInput(real);\n"
        "    const float back = net_model::DequantizeOutput(stored);\n"
        "    std::fwrite(&stored, sizeof stored, 1, stdout);\n"
        "    std::fwrite(&back, sizeof back, 1, stdout);\n"
        "  }\n}\n"
    )
    _compile(HOST, folder, "-O2", "convert.cc", "-o", "program")
    limits, step = np.iinfo(dtype), np.float32(scale)
    rng = np.random.default_rng(0)
    halves = (np.arange(limits.min - 3, limits.max + 3) + 0.5 - zero_point) * step
    # Next to a half, where adding one half in float32 would already round up.
    below = np.array([0.49999997, -0.49999997, 8388609.0], np.float32) * step
    extremes = np.array([0, -0.0, 1e30, -1e30, np.inf, -np.inf], np.float32)
    spread = rng.normal(0, 1, 20_000) * step * (limits.max - limits.min)
    given = np.concatenate([halves, below, extremes, spread]).astype(np.float32)
    ran = _run(folder, given.tobytes()).stdout
    converted = np.frombuffer(ran, np.dtype([("stored", dtype), ("back", np.float32)]))
    scaled = (given / step).astype(np.float64)
    expected = np.clip(np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) + zero_point, limits.min, limits.max)
    np.testing.assert_array_equal(converted["stored"], expected.astype(dtype))
    np.testing.assert_array_equal(
        converted["back"], (converted["stored"].astype(np.float32) - np.float32(zero_point)) * step
    )
    assert (
        _run(folder, np.float32(np.nan).tobytes()).stdout[: limits.dtype.itemsize]
        == np.array(limits.min, dtype).tobytes()
    )


def test_normalization_and_labels_are_what_they_were(tmp_path: Path) -> None:
    given = firmware(preprocess=Preprocess(scale=(0.5, 1 / 255), mean=(1.0, 127.5)), labels=('a "b"', "ü??/\\", "\n"))
    folder = _write(given, tmp_path)
    (folder / "say.cc").write_text(
        '#include <cstdio>\n#include <cstring>\n#include "net_constants.h"\n'
        "int main() {\n"
        "  for (const char* label : net_model::kLabels) std::fwrite(label, 1, std::strlen(label) + 1, stdout);\n"
        "  const float values[] = {net_model::Normalize(3.0f, 0), net_model::Normalize(200.0f, 1)};\n"
        "  std::fwrite(values, sizeof values, 1, stdout);\n}\n"
    )
    _compile(HOST, folder, "-std=c++11", "say.cc", "-o", "program")
    *labels, values = _run(folder).stdout.split(b"\0", 3)
    assert tuple(label.decode() for label in labels) == given.labels
    expected = (np.array([3, 200], np.float32) - np.array([1, 127.5], np.float32)) * np.array(
        [0.5, 1 / 255], np.float32
    )
    np.testing.assert_array_equal(np.frombuffer(values, np.float32), expected)


def test_the_example_feeds_the_vector_and_counts_what_differs(kws: Firmware, tmp_path: Path) -> None:
    folder = _write(kws, tmp_path)
    _compile(HOST, folder, "example.cc", "kws_model.cc", "-o", "program")
    assert kws.vector is not None
    answer = bytearray(kws.vector.outputs[0])
    (folder / "output0.bin").write_bytes(answer)
    assert _run(folder).returncode == 0
    fed = (folder / "input0.bin").read_bytes()
    assert fed[:490] == kws.vector.inputs[0]
    assert not any(fed[490:])
    answer[3] ^= 1
    answer[11] ^= 1
    (folder / "output0.bin").write_bytes(answer)
    ran = _run(folder)
    assert ran.returncode == 2
    assert ran.stdout == b"kws: 2 values are not those of the build machine\n"


def test_the_example_with_every_type_feeds_and_compares_all_of_them(tmp_path: Path) -> None:
    given = _everything()
    folder = _write(given, tmp_path)
    _compile(HOST, folder, "example.cc", "class_7_model.cc", "-o", "program")
    assert given.vector is not None
    for position, held in enumerate(given.vector.outputs):
        (folder / f"output{position}.bin").write_bytes(held)
    assert _run(folder).returncode == 0
    for position, held in enumerate(given.vector.inputs):
        assert (folder / f"input{position}.bin").read_bytes()[: len(held)] == held


def test_the_example_without_a_vector_feeds_the_stored_zero(kws: Firmware, tmp_path: Path) -> None:
    folder = _write(msgspec.structs.replace(kws, vector=None), tmp_path)
    _compile(HOST, folder, "example.cc", "kws_model.cc", "-o", "program")
    (folder / "output0.bin").write_bytes(np.array([-64, *[0] * 11], np.int8).tobytes())
    ran = _run(folder)
    assert ran.returncode == 0
    assert ran.stdout == b"kws: output[0] = 250 / 1000\n"
    zero_point = kws.spec.inputs[0].zero_point
    assert (folder / "input0.bin").read_bytes()[:490] == bytes([zero_point]) * 490


def test_an_arena_that_was_not_measured_is_asked_for_by_the_compiler(tmp_path: Path) -> None:
    folder = _write(firmware(arena_bytes=None), tmp_path)
    command = [str(HOST), "-I", ".", "-I", str(STAND_IN), "-fsyntax-only", "example.cc"]
    refused = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Define NET_ARENA_BYTES: the bytes of the tensor arena" in refused.stderr
    _compile(HOST, folder, "-DNET_ARENA_BYTES=4096", "-fsyntax-only", "example.cc")


def test_a_package_of_every_layout_holds_the_same_headers(kws: Firmware) -> None:
    headers = [
        {Path(path).name: text for path, text in texts(kws, layout).items() if path.endswith(".h")}
        for layout in LAYOUTS
    ]
    assert all(found == headers[0] for found in headers)
